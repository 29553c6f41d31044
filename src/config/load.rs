//! From a file to a [`Config`], or to everything that is wrong with it.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
};

use super::{
    Config,
    check::check,
    error::{ConfigError, ConfigErrors},
    salvage::{Salvaged, salvage},
    schema::json_schema,
    source::{Source, Value, place},
    validate::validate,
    yaml,
};
use crate::files::Files;

/// A configuration that has nothing wrong that can be seen in the file alone.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the file says; its paths are absolute, or relative to the working folder.
    pub config: Config,
    /// The file, for reporting what else is wrong at its place: [`Source::error`].
    pub source: Source,
}

/// Reads and checks a configuration file. Variables come from the environment, relative paths are relative to
/// the file's folder.
///
/// # Errors
/// All that is wrong: a file that cannot be read, that is no YAML, or whose content is not a configuration.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    load_with(path, &Files::new())
}

/// As [`load`], through `files`, so that the configuration's file is among those that the load has seen.
///
/// # Errors
/// All that is wrong, as with [`load`].
pub fn load_with(path: &Path, files: &Files) -> Result<Loaded, ConfigErrors> {
    let name = path.display().to_string();
    let text = read(path, &name, files)?;
    parse(&text, &name, path.parent().unwrap_or(Path::new("")))
}

/// Checks the text of a configuration file. Errors show `file` as its name; relative paths are relative to
/// `folder`; variables come from the environment.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(text: &str, file: &str, folder: &Path) -> Result<Loaded, ConfigErrors> {
    parse_with(text, file, folder, &|name| std::env::var(name).ok())
}

/// As [`parse`], with variables from elsewhere than the environment.
///
/// # Errors
/// All that is wrong with it.
pub fn parse_with(
    text: &str,
    file: &str,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigErrors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (root, mut errors) = yaml::parse(file, text, environment)?;
    let source = Source::new(file, text, root);
    if matches!(source.root().value, Value::Null) {
        return Err(ConfigError::new(format!("{file} is empty"))
            .help("it needs `listeners` and `routes` at least")
            .into());
    }
    let mut report = check(&source, json_schema());
    errors.append(&mut report.errors);
    let salvaged = salvage(source.root(), &report);
    let config = deserialize(&salvaged);
    match &config {
        Ok(config) => errors.append(&mut validate(config, &salvaged.kept, &source)),
        // What the check lets through deserialises; were it not so, this would say it.
        Err(error) if errors.is_empty() => errors.push(ConfigError::new(format!("{file}: {error}"))),
        Err(_) => {}
    }
    ConfigErrors::check(errors)?;
    let mut config = config.map_err(|error| ConfigError::new(format!("{file}: {error}")))?;
    config.anchor_paths(folder);
    number_names(config.listeners.iter_mut().map(|one| (one.name(), &mut one.name)).collect());
    number_names(config.routes.iter_mut().map(|one| (one.name(), &mut one.name)).collect());
    Ok(Loaded { config, source })
}

fn deserialize(salvaged: &Salvaged<'_>) -> Result<Config, serde_yaml::Error> {
    let mut config: Config = serde_yaml::from_value(salvaged.file.clone())?;
    config.routes = salvaged.routes().map(serde_yaml::from_value).collect::<Result<_, _>>()?;
    Ok(config)
}

/// Numbers the names of those that have none written and would be called as another is.
fn number_names(names: Vec<(String, &mut Option<String>)>) {
    let mut taken: HashSet<String> = names.iter().filter_map(|(_, written)| (*written).clone()).collect();
    let mut numbers: HashMap<String, u64> = HashMap::new();
    for (short, written) in names.into_iter().filter(|(_, written)| written.is_none()) {
        if taken.insert(short.clone()) {
            continue;
        }
        let number = numbers.entry(short.clone()).or_insert(1);
        let name = loop {
            *number += 1;
            let name = format!("{short} ({number})");
            if taken.insert(name.clone()) {
                break name;
            }
        };
        *written = Some(name);
    }
}

/// Reads a file into text.
fn read(path: &Path, name: &str, files: &Files) -> Result<String, ConfigError> {
    let cannot = |error: io::Error| {
        let help = match error.kind() {
            io::ErrorKind::FileTooLarge => return ConfigError::new(format!("{name} is {error}")),
            io::ErrorKind::NotFound => "give the file's path with `--config`",
            io::ErrorKind::PermissionDenied => "let the gateway's user read it",
            _ => "give a readable file with `--config`",
        };
        ConfigError::new(format!("cannot read {name}: {error}")).help(help)
    };
    let bytes = files.read(path).map_err(cannot)?;
    str::from_utf8(&bytes).map(str::to_owned).map_err(|error| {
        let text = String::from_utf8_lossy(&bytes);
        let index = text.char_indices().take_while(|(byte, _)| *byte < error.valid_up_to()).count();
        ConfigError::new("the file is not UTF-8").at(place(&name.into(), &text, index..index + 1))
    })
}
