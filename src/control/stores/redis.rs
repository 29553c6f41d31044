//! Connections to Redis and Valkey, by the crate `redis`: to one server, to the master that sentinels know, and to a cluster.

use std::fmt::Write as _;
use std::sync::LazyLock;

use ::redis::aio::MultiplexedConnection;
use ::redis::cluster::{ClusterClient, ClusterConfig};
use ::redis::cluster_async::ClusterConnection;
use ::redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates,
    TlsMode,
};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::command::{Command, Granted};
use super::settings::{CONNECT_MAX, StoreSettings};
use crate::config::values::store_url::{StorePlace, StoreServer, StoreUrl};
use crate::policy::StoreKey;

const SCRIPT: &str = include_str!("charge.lua");

/// The name by which servers know the script: the SHA-1 of its text.
static SCRIPT_NAME: LazyLock<String> = LazyLock::new(|| {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, SCRIPT.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut name, byte| {
        // Writing to a String cannot fail.
        write!(name, "{byte:02x}").unwrap_or_default();
        name
    })
});

/// The number of commands that may wait to be written to a connection.
const COMMANDS_MAX: usize = 1024;

/// A connection. Many commands are under way on it at once.
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Opens all connections of a store, within [`CONNECT_MAX`] each.
    ///
    /// # Errors
    /// Returns the reason, without the password.
    pub(super) async fn open(settings: &StoreSettings) -> Result<Vec<Self>, String> {
        let opened = match &settings.written.url.place {
            StorePlace::Cluster(servers) => clusters(settings, servers).await,
            _ => masters(settings).await,
        };
        opened.map_err(|error| reason(&error))
    }

    /// Runs a command.
    ///
    /// # Errors
    /// Returns the reason.
    pub(super) async fn run(&self, command: Command) -> Result<Granted, String> {
        let key = key_text(command.key);
        let limit = command.limit;
        let arguments =
            [limit.interval, limit.refill, limit.queue, command.asked.into(), command.returned.into()];
        let (count, ahead) = self.charge(&key, arguments).await.map_err(|error| reason(&error))?;
        Ok(Granted { count, ahead })
    }

    /// Runs a command that changes a key of its own, which the server of the given key has, too.
    ///
    /// # Errors
    /// Returns the reason.
    pub(super) async fn probe(&self, key: StoreKey) -> Result<(), String> {
        let key = key_text(key) + "probe";
        // It has credit for a thousand in a second.
        let arguments = [1_000_000, 1_000_000_000, 0, 1, 0];
        self.charge(&key, arguments).await.map(|_| ()).map_err(|error| reason(&error))
    }

    async fn charge(&self, key: &str, arguments: [u64; 5]) -> RedisResult<(u64, u64)> {
        match self.query(&invocation("EVALSHA", &SCRIPT_NAME, key, arguments)).await {
            // A server that has just started does not know the script.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.query(&invocation("EVAL", SCRIPT, key, arguments)).await
            }
            other => other,
        }
    }

    async fn query(&self, command: &Cmd) -> RedisResult<(u64, u64)> {
        match self {
            Self::Server(connection) => command.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    /// Returns the same connection, for a command at the same time.
    pub(super) fn share(&self) -> Self {
        match self {
            Self::Server(connection) => Self::Server(connection.clone()),
            Self::Cluster(connection) => Self::Cluster(connection.clone()),
        }
    }
}

fn invocation(name: &str, script: &str, key: &str, arguments: [u64; 5]) -> Cmd {
    let mut invocation = ::redis::cmd(name);
    invocation.arg(script).arg(1).arg(key).arg(&arguments[..]);
    invocation
}

/// Returns the key as servers have it. Its prefix lets an operator permit the gateway nothing else, and of the part in braces a cluster
/// finds the server.
fn key_text(StoreKey(bytes): StoreKey) -> String {
    let mut key = String::from("gateway:{");
    URL_SAFE_NO_PAD.encode_string(bytes, &mut key);
    key.push('}');
    key
}

/// Connects to one server, or to the master that sentinels know.
async fn masters(settings: &StoreSettings) -> RedisResult<Vec<Connection>> {
    let url = &settings.written.url;
    let client = match &url.place {
        StorePlace::Sentinel(servers, master) => {
            let servers = servers.iter().map(|server| address(url, server));
            let mut builder = SentinelClientBuilder::new(servers, master, SentinelServerType::Master)?
                .set_client_to_redis_db(url.database.into());
            if let Some(username) = &url.username {
                builder = builder.set_client_to_redis_username(username);
            }
            if let Some(password) = &url.password {
                builder = builder.set_client_to_redis_password(password);
            }
            if url.has_tls {
                builder = builder
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_redis_certificates(certificates(settings))
                    .set_client_to_sentinel_certificates(certificates(settings));
            }
            builder.build()?.async_get_client().await?
        }
        StorePlace::Unix(path) => Client::open(info(url, ConnectionAddr::Unix(path.clone()))?)?,
        StorePlace::One(server) if url.has_tls => {
            Client::build_with_tls(info(url, address(url, server))?, certificates(settings))?
        }
        StorePlace::One(server) => Client::open(info(url, address(url, server))?)?,
        StorePlace::Cluster(_) => return Ok(Vec::new()),
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        // Each command has the store's timeout.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(COMMANDS_MAX);
    let mut connections = Vec::new();
    for _ in 0..settings.written.pool.max_connections {
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        connections.push(Connection::Server(connection));
    }
    Ok(connections)
}

async fn clusters(settings: &StoreSettings, servers: &[StoreServer]) -> RedisResult<Vec<Connection>> {
    let url = &settings.written.url;
    let servers: Vec<ConnectionInfo> =
        servers.iter().map(|server| info(url, address(url, server))).collect::<Result<_, _>>()?;
    let mut builder = ClusterClient::builder(servers);
    if url.has_tls {
        builder = builder.tls(TlsMode::Secure).certs(certificates(settings));
    }
    let client = builder.build()?;
    let mut connections = Vec::new();
    for _ in 0..settings.written.pool.max_connections {
        let config = ClusterConfig::new().set_connection_timeout(CONNECT_MAX);
        connections.push(Connection::Cluster(client.get_async_connection_with_config(config).await?));
    }
    Ok(connections)
}

fn address(url: &StoreUrl, StoreServer { host, port }: &StoreServer) -> ConnectionAddr {
    match url.has_tls {
        true => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host.clone(), *port),
    }
}

fn info(url: &StoreUrl, address: ConnectionAddr) -> RedisResult<ConnectionInfo> {
    let mut settings = RedisConnectionInfo::default().set_db(url.database.into());
    if let Some(username) = &url.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &url.password {
        settings = settings.set_password(password);
    }
    Ok(address.into_connection_info()?.set_redis_settings(settings))
}

fn certificates(settings: &StoreSettings) -> TlsCertificates {
    let client = settings.client.clone();
    TlsCertificates {
        client_tls: client.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
        root_cert: settings.ca.clone(),
    }
}

fn reason(error: &RedisError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_has_the_prefix_of_the_gateway() {
        assert_eq!(key_text(StoreKey([0xff; 16])), "gateway:{_____________________w}");
    }
}
