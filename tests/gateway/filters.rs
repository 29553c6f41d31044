//! Filters as a user meets them first: a module that changes what is sent back.

use support::Origin;

use crate::filtering::{filtered, plugin};

#[tokio::test]
async fn a_module_changes_the_head_and_the_body_of_a_response() {
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let module = plugin(
        r#"
(data (i32.const 0) "x-filteredyes, world")
(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
  (drop (call $add_field (i32.const 2) (i32.const 0) (i32.const 10) (i32.const 10) (i32.const 3)))
  (i32.const 0))
(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
  (drop (call $set_buffer (i32.const 1) (local.get 1) (i32.const 0) (i32.const 13) (i32.const 7)))
  (i32.const 0))"#,
    );
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..3 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.text().as_str()), (200, "hello, world"));
        assert_eq!(response.headers.all("x-filtered"), ["yes"]);
        assert_eq!(response.headers.all("content-length"), ["12"]);
    }
    assert_eq!(origin.accepted(), 1, "the upstream connection is kept");
}
