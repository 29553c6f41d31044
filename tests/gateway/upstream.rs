//! Endpoints: which of them a request goes to, and what is said of one that cannot be reached.

use std::collections::BTreeMap;

use support::{Origin, unused_address};

use crate::pooled::{self, OK, refusal, settled};

#[tokio::test]
async fn endpoints_take_turns_as_often_as_their_weights_say() {
    let origins = [Origin::answer(OK), Origin::answer(OK), Origin::answer(OK)];
    let url = |index: usize| origins[index].url();
    for (endpoints, shares) in [
        (format!("['{}', '{}', '{}']", url(0), url(1), url(2)), [4, 4, 4]),
        (
            format!("['{}', {{ url: '{}', weight: 2 }}, {{ url: '{}', weight: 3 }}]", url(0), url(1), url(2)),
            [2, 4, 6],
        ),
    ] {
        // The order is the process's, not a worker's.
        for workers in [1, 2] {
            let before = origins.each_ref().map(|origin| origin.requests().len());
            let gateway =
                pooled::builder(workers, &format!("{{ endpoints: {endpoints}, balance: round_robin }}"), "")
                    .start()
                    .await;
            for _ in 0..12 {
                assert_eq!(gateway.client("web").await.get("/").await.status, 200);
            }
            let mut served = [0; 3];
            for (index, origin) in origins.iter().enumerate() {
                served[index] = origin.requests().len() - before[index];
            }
            assert_eq!(served, shares, "{workers} workers, {endpoints}");
        }
    }
    let hosts: BTreeMap<String, usize> =
        origins[0].requests().iter().fold(BTreeMap::new(), |mut hosts, request| {
            *hosts.entry(request.headers.get("host").unwrap().to_owned()).or_default() += 1;
            hosts
        });
    assert_eq!(
        hosts.into_keys().collect::<Vec<_>>(),
        [origins[0].addr().to_string()],
        "each has its own Host"
    );
}

#[tokio::test]
async fn a_name_is_looked_up() {
    let origin = Origin::answer(OK);
    let port = origin.addr().port();
    let gateway = pooled::builder(1, &format!("{{ url: 'http://localhost:{port}' }}"), "").start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let host = format!("localhost:{port}");
    assert!(origin.requests().iter().all(|request| request.headers.get("host") == Some(&host)));
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_named_and_logged() {
    // Reserved never to exist (RFC 6761 §6.4).
    let upstream = "{ url: 'http://nowhere.invalid:80' }";
    let gateway = pooled::builder(1, upstream, "timeouts: { connect: 300ms }").start().await;
    let response = gateway.client("web").await.get("/").await;
    assert_eq!(refusal(&response), (503, "upstream.dns"));
    assert_eq!(response.text(), "upstream.dns: upstream name not resolved\n");
    gateway.wait_for_log("upstream.dns").await;

    let address = unused_address();
    let gateway = pooled::to(address, "").await;
    let mut client = gateway.client("web").await;
    let response = client.get("/").await;
    assert_eq!(refusal(&response), (503, "upstream.connect"));
    assert_eq!(response.text(), "upstream.connect: connect failed\n");
    let line = gateway.wait_for_log("upstream failed").await;
    assert!(line.contains("WARN") && line.contains(&address.to_string()), "{line}");
    settled(&gateway).await;

    // It is used as soon as it is there.
    let origin = Origin::builder().address(address).answer(OK);
    assert_eq!(client.get("/").await.status, 200);
    origin.stop().await;
    assert_eq!(refusal(&client.get("/").await), (503, "upstream.connect"));
    let origin = Origin::builder().address(address).answer(OK);
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(origin.accepted(), 1);
    settled(&gateway).await;
}
