//! `gateway new`: writes a first configuration file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{messages, output};
use crate::config::{EndpointUrl, Malformed, Server};
use crate::control::announce::quoted;
use crate::control::compile::generation::Purpose;
use crate::control::process::prepare;

/// The text of a new file, with the placeholders `URL`, `PORT` and `ADMIN`. It spells out keys with their defaults so
/// that users see them.
const TEMPLATE: &str = include_str!("gateway.yaml");

/// The ports of the listener and of the admin listener. The second of each is for an upstream that has the first.
const PORTS: [u16; 2] = [8080, 8081];
const ADMIN_PORTS: [u16; 2] = [9901, 9902];

/// The name that selects standard output.
const STANDARD_OUTPUT: &str = "-";

/// The upstream of a new configuration, and its file.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewArgs {
    /// The upstream: `http://127.0.0.1:3000`, `https://api.example.com/v2` with a base path, or `unix:/run/app.sock`
    #[arg(value_name = "URL")]
    url: String,

    /// The file to write; it must not exist. `-` prints on standard output
    #[arg(long, short, value_name = "FILE", default_value = "gateway.yaml")]
    output: PathBuf,
}

/// Writes a configuration that has passed the checks of `gateway check`, and prints the command that serves it. Returns
/// 1 if it cannot be written, and 2 for a text that is not a URL.
pub(crate) fn run(args: &NewArgs) -> ExitCode {
    let url: EndpointUrl = match args.url.parse() {
        Ok(url) => url,
        Err(Malformed { message, help }) => {
            messages::error(&help.map_or(message.clone(), |help| format!("{message}: {help}")));
            return ExitCode::from(USAGE);
        }
    };
    let file = Configuration::of(&url);
    let is_printed = args.output == Path::new(STANDARD_OUTPUT);
    // A configuration named `-` would be read from standard input.
    let name = if is_printed { Path::new("gateway.yaml") } else { &args.output };
    if let Err(errors) = prepare(Purpose::Check, name, Some(file.text.as_bytes())) {
        messages::config_errors(&errors);
        return ExitCode::FAILURE;
    }
    if is_printed {
        return output::print_to_end(&file.text);
    }
    if let Err(error) = write(&args.output, &file.text) {
        messages::error(&error);
        return ExitCode::FAILURE;
    }
    let (path, port) = (args.output.display(), file.port);
    let program = std::env::args().next().unwrap_or_else(|| "gateway".to_owned());
    let (program, argument) = (quoted(&program), quoted(&as_argument(&path.to_string())));
    let text = format!(
        "{path} forwards http://127.0.0.1:{port} to {url}. To serve it, and to try it:

    {program} --config {argument}
    curl -i http://127.0.0.1:{port}/

Edit {path} while it runs: a saved change is live within a second. `{program} check {argument}` checks one beforehand."
    );
    output::result(&text, &json!({ "file": args.output.display().to_string() }))
}

/// Returns a path that no command mistakes for an option.
fn as_argument(path: &str) -> String {
    if path.starts_with('-') { format!("./{path}") } else { path.to_owned() }
}

/// The exit status for an invalid argument, as in clap.
const USAGE: u8 = 2;

struct Configuration {
    text: String,
    /// The port of its listener.
    port: u16,
}

impl Configuration {
    fn of(url: &EndpointUrl) -> Self {
        let local_port = match &url.server {
            Server::Inet { host, port } if is_local(host) => Some(*port),
            Server::Inet { .. } | Server::Unix(_) => None,
        };
        // A gateway that forwards to itself would never respond.
        let free = |[first, second]: [u16; 2]| if local_port == Some(first) { second } else { first };
        let (port, admin) = (free(PORTS), free(ADMIN_PORTS));
        let text = TEMPLATE
            .replace("PORT", &port.to_string())
            .replace("ADMIN", &admin.to_string())
            .replace("URL", &url.to_string());
        Self { text, port }
    }
}

/// Returns true if a host is this machine. Resolvers accept numbers as IPv4 addresses in forms that `IpAddr` rejects:
/// `127.1`, `0x7f000001`, `0`.
fn is_local(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        let ip = ip.to_canonical();
        return ip.is_loopback() || ip.is_unspecified();
    }
    let number = |part: &str| match part.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None if part.starts_with('0') && part.len() > 1 => u32::from_str_radix(part, 8),
        None => part.parse(),
    };
    let Ok(parts) = host.split('.').map(number).collect::<Result<Vec<u32>, _>>() else { return false };
    match parts[..] {
        [address] => address == 0 || address >> 24 == 127,
        [first, ..] => first == 127 || parts.iter().all(|part| *part == 0),
        [] => false,
    }
}

/// Writes a file that does not exist yet, whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let shown = path.display();
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!(
                "{shown} exists already and was not changed: write another file with `--output`, or `--output -`"
            )
        }
        io::ErrorKind::NotFound => format!("cannot write {shown}: its folder does not exist"),
        _ => format!("cannot write {shown}: {error}"),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(cannot)?;
    file.write_all(text.as_bytes()).map_err(|error| {
        // Half a file would be rejected the next time, because it exists.
        drop(fs::remove_file(path));
        cannot(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, parse};

    fn config(url: &str) -> (Config, u16) {
        let file = Configuration::of(&url.parse().unwrap());
        (parse(&file.text, "gateway.yaml", "".as_ref()).unwrap().config, file.port)
    }

    #[test]
    fn new_configuration_forwards_everything_to_its_url() {
        for url in [
            "http://127.0.0.1:3000",
            "https://example.com",
            "https://example.com:8443/v2",
            "http://[::1]:81",
            "http://app.internal./a/b",
        ] {
            let (config, port) = config(url);
            let [route] = &config.routes[..] else { panic!("{:?}", config.routes) };
            let upstream = config.upstreams_of(route).next().unwrap();
            assert_eq!(upstream.url.as_ref().unwrap(), &url.parse::<EndpointUrl>().unwrap());
            let address = config.listeners[0].socket_address().inet().unwrap();
            assert_eq!((port, address.port()), (8080, 8080), "{url}");
            assert!(config.admin.as_on().is_some());
        }
    }

    #[test]
    fn new_configuration_has_its_url_in_its_title_and_its_upstream_alone() {
        let text = Configuration::of(&"http://127.0.0.1:3000".parse().unwrap()).text;
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("127.0.0.1:3000")).collect();
        let [title, upstream] = lines[..] else { panic!("{lines:?}") };
        assert_eq!(title, "# A gateway in front of http://127.0.0.1:3000");
        assert_eq!(upstream.trim(), "upstream: { url: \"http://127.0.0.1:3000\" }");
    }

    #[test]
    fn new_configuration_shows_the_defaults() {
        let (config, _) = config("http://127.0.0.1:3000");
        let bare = "listeners: [{ address: 127.0.0.1:80 }]\nroutes: [{ upstream: { url: 'http://127.0.0.1:3000' } }]";
        let bare = parse(bare, "gateway.yaml", "".as_ref()).unwrap().config;
        let (shown, defaults) = (config.settings_of(&config.routes[0]), bare.settings_of(&bare.routes[0]));
        assert_eq!(shown.pool, defaults.pool);
        assert_eq!(shown.timeouts, defaults.timeouts);
        assert_eq!(shown.host, defaults.host);
        assert_eq!(shown.retry, defaults.retry);
        assert_eq!(config.drain(), bare.drain());
        assert_eq!(config.telemetry, bare.telemetry);
    }

    #[test]
    fn listeners_leave_the_ports_of_a_local_upstream_alone() {
        for (url, listener, admin) in [
            ("http://127.0.0.1:8080", 8081, 9901),
            ("http://localhost:8080", 8081, 9901),
            ("http://[::1]:9901", 8080, 9902),
            ("http://localhost.:8080", 8081, 9901),
            ("http://a.localhost:8080", 8081, 9901),
            ("http://127.1:8080", 8081, 9901),
            ("http://0:8080", 8081, 9901),
            ("http://0x7f.1:8080", 8081, 9901),
            ("http://2130706433:8080", 8081, 9901),
            ("http://[::ffff:127.0.0.1]:8080", 8081, 9901),
            ("http://10.0.0.1:8080", 8080, 9901),
            ("http://10.1:8080", 8080, 9901),
            ("http://127.example:8080", 8080, 9901),
        ] {
            let (config, port) = config(url);
            assert_eq!(port, listener, "{url}");
            let address = config.admin.as_on().map(|admin| admin.address.to_string());
            assert_eq!(address, Some(format!("127.0.0.1:{admin}")), "{url}");
        }
    }
}
