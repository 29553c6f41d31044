//! The way from a file to a [`Config`], or to all of its errors.

pub(crate) mod anchor;
pub(crate) mod as_written;
pub(crate) mod check;
pub(crate) mod code;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod format;
pub(crate) mod key_file;
pub(crate) mod keyword;
pub(crate) mod loaded;
pub(crate) mod salvage;
pub(crate) mod schema;
pub(crate) mod shortened;
pub(crate) mod similar;
pub(crate) mod source;
pub(crate) mod substitute;
pub(crate) mod text_file;
pub(crate) mod unused;
pub(crate) mod validate;
pub(crate) mod warnings;
pub(crate) mod yaml;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Admin, Config};
use crate::config::load::check::check;
use crate::config::load::code::Code;
use crate::config::load::error::{ConfigError, ConfigErrors, Place};
use crate::config::load::files::{FILE_BYTES_MAX, Files, read_all};
pub(crate) use crate::config::load::loaded::Loaded;
use crate::config::load::salvage::{Salvaged, salvage};
use crate::config::load::schema::rules;
use crate::config::load::source::{Source, Value};
use crate::config::load::text_file::TextFile;
use crate::config::load::validate::validate;
use crate::config::values::or_off::OrOff;

/// Reads and checks a configuration file, or standard input for `-`. Variables come from the environment. Relative
/// paths are relative to the file's folder. The file is read through `files`, so that it belongs to the files of the
/// load.
pub(crate) fn load(path: &Path, files: &Files) -> Result<Loaded, ConfigErrors> {
    let name = display_name(path);
    let text = read(path, &name, files)?;
    // The path is absolute, so that errors name the path that was tried.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parse(&text, &name, &absolute(folder))
}

/// Reads the admin listener that a configuration file names. Errors in other parts of the file do not matter, because
/// the running gateway may have an earlier version of it. Returns `None` if there is no admin listener.
///
/// # Errors
/// The file cannot be read, is not YAML, or its admin listener is wrong.
pub(crate) fn load_admin(path: &Path) -> Result<Option<Admin>, ConfigErrors> {
    const KEY: &str = "admin";
    let name = display_name(path);
    let text = read(path, &name, &Files::new())?;
    let (source, mut errors) = tree(&text, &name, &|name| std::env::var_os(name))?;
    let mut report = check(&source, rules());
    errors.append(&mut report.errors);
    let salvaged = salvage(source.root(), &report);
    match salvaged.file.get(KEY).map(|admin| serde_yaml::from_value::<OrOff<Admin>>(admin.clone())) {
        Some(Ok(admin)) => Ok(admin.as_on().cloned()),
        Some(Err(error)) if errors.is_empty() => Err(fault(&source, &error).into()),
        // The file does not have the key, or its value was left out because it is wrong.
        _ => ConfigErrors::check(errors).map(|()| None),
    }
}

/// Returns a path as it is from the root, or unchanged if there is no current folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The path that selects standard input. A file of that name is `./-`.
const STANDARD_INPUT: &str = "-";

/// Returns the name of a configuration file in messages.
pub(crate) fn display_name(path: &Path) -> String {
    if is_standard_input(path) {
        return "standard input".to_owned();
    }
    path.display().to_string()
}

/// Returns true if a path selects standard input.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path == Path::new(STANDARD_INPUT)
}

/// Reads standard input, as a content for [`Files::give`].
pub(crate) fn standard_input() -> Result<Arc<[u8]>, ConfigErrors> {
    let path = Path::new(STANDARD_INPUT);
    Ok(read_standard_input().map_err(|error| cannot_read(path, &display_name(path), &error))?)
}

/// Returns the content of standard input. It is read once: a reload has the same text, and reads again only the files
/// that the text names.
fn read_standard_input() -> io::Result<Arc<[u8]>> {
    static READ: Mutex<Option<Arc<[u8]>>> = Mutex::new(None);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = &*read {
        return Ok(Arc::clone(bytes));
    }
    let bytes = read_all(io::stdin().lock(), FILE_BYTES_MAX)?;
    Ok(Arc::clone(read.insert(bytes.into())))
}

/// Parses the text of a configuration file. Returns the file with its values, and the errors that leave it readable.
fn tree(
    text: &str,
    file: &str,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<(Source, Vec<ConfigError>), ConfigError> {
    // The byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text_file = Arc::new(TextFile::new(file, text));
    let (root, errors) = yaml::parse(&text_file, environment)?;
    let source = Source::new(text_file, root);
    if matches!(source.root().value, Value::Null) {
        let error = ConfigError::new(Code::MissingKey, format!("{file} is empty"));
        return Err(error.help("it needs `listeners` and `routes` at least"));
    }
    Ok((source, errors))
}

/// Checks the text of a configuration file. Errors show `file` as its name. Relative paths are relative to `folder`.
/// Variables come from the environment.
pub(crate) fn parse(text: &str, file: &str, folder: &Path) -> Result<Loaded, ConfigErrors> {
    parse_with(text, file, folder, &|name| std::env::var_os(name))
}

/// Does the same as [`parse`], with another source of variables.
pub(crate) fn parse_with(
    text: &str,
    file: &str,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Loaded, ConfigErrors> {
    let (source, mut errors) = tree(text, file, environment)?;
    let mut report = check(&source, rules());
    errors.append(&mut report.errors);
    let salvaged = salvage(source.root(), &report);
    let config = deserialize(&salvaged);
    match &config {
        Ok(config) => errors.append(&mut validate(config, &salvaged.kept, &source)),
        // Whatever passes the check can be deserialised. If not, this error reports it.
        Err(error) if errors.is_empty() => errors.push(fault(&source, error)),
        Err(_) => {}
    }
    ConfigErrors::check(errors)?;
    let mut config = config.map_err(|error| fault(&source, &error))?;
    config.anchor_paths(folder);
    number_names(config.listeners.iter_mut().map(|one| (one.name(), &mut one.name)).collect());
    number_names(config.routes.iter_mut().map(|one| (one.name(), &mut one.name)).collect());
    Ok(Loaded { config, source })
}

fn fault(source: &Source, error: &serde_yaml::Error) -> ConfigError {
    let (file, error) = (source.file(), source.as_written(&[&[]], &error.to_string()));
    ConfigError::new(Code::System, format!("{file} cannot be used because of a bug in the gateway: {error}"))
        .help("report it, with the file")
}

fn deserialize(salvaged: &Salvaged<'_>) -> Result<Config, serde_yaml::Error> {
    let mut config: Config = serde_yaml::from_value(salvaged.file.clone())?;
    config.routes = salvaged.routes().map(serde_yaml::from_value).collect::<Result<_, _>>()?;
    Ok(config)
}

/// Numbers the names of those that have no name written and would share a name with another.
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
    let bytes = match is_standard_input(path) {
        true => read_standard_input(),
        false => files.read(path),
    };
    let bytes = bytes.map_err(|error| cannot_read(path, name, &error))?;
    str::from_utf8(&bytes).map(str::to_owned).map_err(|error| {
        let text = Arc::new(TextFile::new(name, &String::from_utf8_lossy(&bytes)));
        let start = error.valid_up_to();
        ConfigError::new(Code::YamlSyntax, "the file is not UTF-8").at(Place::File(text, start..start + 1))
    })
}

fn cannot_read(path: &Path, name: &str, error: &io::Error) -> ConfigError {
    let help = match error.kind() {
        io::ErrorKind::FileTooLarge => {
            return ConfigError::new(Code::TooLarge, format!("{name} is {error}"));
        }
        io::ErrorKind::NotFound => {
            "give the file's path with `--config`, or create one: `gateway new http://127.0.0.1:3000`"
        }
        io::ErrorKind::PermissionDenied => "let the gateway's user read it",
        _ => "give a readable file with `--config`",
    };
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    };
    let tried = if is_standard_input(path) { name.into() } else { absolute(path).display().to_string() };
    ConfigError::new(Code::FileUnreadable, format!("cannot read {tried}: {reason}")).help(help)
}
