//! The connections to upstreams as the kernel counts them.

use support::serde_json::{Value, from_slice, json};
use support::{Connection, Gate, Gateway, Origin, run_to_exit, wait_until};
use tokio::net::TcpStream;

use crate::PROGRAM;
use crate::pooled::{self, OK, ROUTE, number, settled};

async fn kernel(gateway: &Gateway) -> Value {
    let response = gateway.admin("/api/kernel").await;
    assert_eq!(response.status, 200);
    from_slice(&response.body).unwrap()
}

/// Returns the exit status of `gateway pools --check`, and what it prints.
async fn check(gateway: &Gateway) -> (i32, String) {
    let address = gateway.admin_addr().to_string();
    let output = run_to_exit(PROGRAM, &["pools", "--check", "--admin", &address]).await;
    assert!(output.stderr.is_empty(), "{output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn kernel_and_gateway_agree_about_the_connections_of_this_process_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (gate, path) = (Gate::new(), folder.path().join("app.sock"));
    let unix = Origin::builder().unix(&path).script({
        let gate = gate.clone();
        move |connection: Connection| pooled::serve_gated(connection, gate.clone())
    });
    for origin in [pooled::gated(&gate), unix] {
        let gateway = pooled::builder(2, &format!("{{ url: '{}' }}", origin.url()), "").start().await;
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(pooled::ask(&gateway, "/").await);
        }
        gateway.wait_for_pool(ROUTE, "three in use", |pool| number(pool, "active") == 3).await;
        // Another process's connection: that of this test.
        let other = if origin.url().starts_with("unix") {
            drop(tokio::net::UnixStream::connect(&path).await.unwrap());
            None
        } else {
            Some(TcpStream::connect(origin.addr()).await.unwrap())
        };
        let report = kernel(&gateway).await;
        assert_eq!((&report["source"], &report["agrees"]), (&json!("sock_diag"), &json!(true)), "{report:#}");
        let address = &report["addresses"][0];
        assert_eq!(
            (number(&address["kernel"], "established"), number(&address["gateway"], "active")),
            (3, 3)
        );
        assert_eq!(address["pools"], json!([ROUTE]));
        let (code, text) = check(&gateway).await;
        assert_eq!(code, 0, "{text}");
        assert!(text.ends_with("the kernel has as many connections open as the gateway counts\n"), "{text}");
        drop(other);
        (0..3).for_each(|_| gate.release());
        for answer in asked {
            assert_eq!(answer.await.unwrap().status, 200);
        }
        settled(&gateway).await;
    }
}

#[tokio::test]
async fn connection_that_the_kernel_has_and_no_pool_is_a_difference() {
    // A probe is no connection of a pool. This one gets no response.
    let origin = Origin::script(|mut connection: Connection| async move {
        while let Some(request) = connection.read_request().await {
            if request.target.starts_with("/health") {
                connection.wait_closed().await;
                return;
            }
            connection.write(OK).await;
        }
    });
    let upstream = format!(
        "{{ url: '{}', health: {{ active: {{ path: /health, interval: 100ms, timeout: 1h }} }} }}",
        origin.url()
    );
    let gateway = pooled::builder(1, &upstream, "").start().await;
    let differs = async || kernel(&gateway).await["agrees"] == false;
    wait_until("the probe's connection", differs).await;
    let (code, text) = check(&gateway).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.ends_with("the kernel and the gateway disagree about 1 address\n"), "{text}");
    assert!(text.contains(" NO "), "{text}");
}
