//! A program that was built without traces.

use crate::gateway;

#[tokio::test]
async fn program_without_traces_refuses_a_configuration_that_has_them() {
    let config = "
listeners: [{ address: 127.0.0.1:0 }]
telemetry: { traces: { otlp: 'http://127.0.0.1:4317' } }
routes: [{ respond: {} }]";
    let output = gateway(config).run_to_exit().await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("this program was built without traces") && errors.contains("--features otlp"),
        "{errors}"
    );
}
