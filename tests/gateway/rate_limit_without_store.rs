//! A program that was built without stores.

use crate::gateway;

#[tokio::test]
async fn program_without_stores_refuses_a_configuration_that_names_one() {
    let config = "
listeners: [{ address: 127.0.0.1:0 }]
stores: { shared: { url: 'redis://127.0.0.1' } }
routes: [{ respond: {}, rate_limit: { rate: 1/s, store: shared } }]";
    let output = gateway(config).run_to_exit().await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("this program was built without stores") && errors.contains("--features redis"),
        "{errors}"
    );
}
