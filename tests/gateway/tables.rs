//! `gateway pools` and `gateway routes`: what they print about a running gateway.

use std::process::Output;

use support::serde_json::{Value, from_str};
use support::{Gateway, Origin, run_to_exit, unused_address};

use crate::PROGRAM;
use crate::pooled::{self, OK, settled};

const TOKEN: &str = "a-token-of-the-admin-listener";

async fn command(gateway: &Gateway, arguments: &[&str]) -> Output {
    let address = gateway.admin_addr().to_string();
    run_to_exit(PROGRAM, &[arguments, &["--admin", &address]].concat()).await
}

/// Returns what a command prints on standard output, if it succeeds.
async fn printed(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = command(gateway, arguments).await;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the error of a command that fails.
async fn failure(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = command(gateway, arguments).await;
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn pools_and_routes_are_tables_and_the_reports_of_the_api() {
    let origin = Origin::answer(OK);
    let gateway = pooled::to(origin.addr(), "").await;
    assert_eq!(pooled::statuses(&gateway, 4).await, [200; 4]);
    settled(&gateway).await;
    let pools = printed(&gateway, &["pools"]).await;
    let [titles, row] = &pools.lines().collect::<Vec<_>>()[..] else { panic!("{pools}") };
    assert!(titles.starts_with("POOL ") && titles.ends_with(" STATE"), "{pools}");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..5], ["pooled", &origin.addr().to_string(), "0/256", "1", "0"], "{pools}");
    assert_eq!(cells[6], "75%", "{pools}");
    assert!(!pools.contains('\x1b'), "a pipe has no colours");

    let routes = printed(&gateway, &["routes", "--once"]).await;
    let rows: Vec<Vec<&str>> = routes.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    assert_eq!((rows[0][0], rows[0][1], rows[0][3]), ("pooled", "/*", "0%"), "{routes}");
    assert_eq!((rows[0].last(), rows[1].last()), (Some(&"now"), Some(&"never")), "{routes}");

    let json: Value = from_str(&printed(&gateway, &["pools", "--json"]).await).unwrap();
    assert_eq!(json["pools"][0]["acquired"], 4);
    let chosen: Value = from_str(&printed(&gateway, &["routes", "pooled", "--json"]).await).unwrap();
    assert_eq!(chosen["routes"].as_array().unwrap().len(), 1);
    assert_eq!(failure(&gateway, &["pools", "other"]).await, "error: nothing is called `other`\n");
    assert_eq!(printed(&gateway, &["pools", "--advise"]).await, "no setting holds requests back\n");
}

#[tokio::test]
async fn token_of_the_admin_listener_comes_from_a_file() {
    let config = pooled::whole("routes: [{ respond: { status: 200 } }]").replace(
        "address: 127.0.0.1:0 }\ntelemetry",
        "address: 127.0.0.1:0, token: file:admin.token }\ntelemetry",
    );
    let gateway = Gateway::builder(PROGRAM, config).file("admin.token", format!("{TOKEN}\n")).start().await;
    let error = failure(&gateway, &["routes"]).await;
    assert!(error.contains("it needs its token, in the variable GATEWAY_ADMIN_TOKEN"), "{error}");
    let file = gateway.folder().join("admin.token").display().to_string();
    assert!(printed(&gateway, &["routes", "--token-file", &file]).await.starts_with("ROUTE "));
    let error = failure(&gateway, &["routes", "--token-file", "/nowhere"]).await;
    assert!(error.contains("cannot read the token from /nowhere"), "{error}");
}

#[tokio::test]
async fn command_without_a_gateway_says_where_it_has_asked() {
    let address = unused_address().to_string();
    for command in [&["pools"][..], &["pools", "--check"], &["pools", "--advise"], &["routes"]] {
        let output = run_to_exit(PROGRAM, &[command, &["--admin", &address]].concat()).await;
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(&address) && error.contains("Connection refused"), "{error}");
    }
}
