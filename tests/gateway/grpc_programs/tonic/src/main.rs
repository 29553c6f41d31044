//! A client and a server of gRPC by tonic, without generated code: `probe server [CERTIFICATE KEY]` and `probe client CASE TARGET [CA]`.
//! They do what `server.py` and `client.py` do.

mod client;
mod raw;
mod server;

use std::error::Error;

/// The larger of the messages have 4 MiB.
const MESSAGE_MAX: usize = 8 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["server"] => server::run(None).await,
        ["server", certificate, key] => server::run(Some((certificate, key))).await,
        ["client", case, target] => client::run(case, target, None).await,
        ["client", case, target, ca] => client::run(case, target, Some(ca)).await,
        _ => Err("probe server [CERTIFICATE KEY] | client CASE TARGET [CA]".into()),
    }
}
