//! The description of the API for programs (OpenAPI 3.1), made from the table of its paths and the types of its reports.

use std::sync::LazyLock;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::{advice, filters, kernel, listeners, pools, reloads, routes, status, upstreams};
use crate::control::admin::resources::{Get, RESOURCES, Resource, Write};
use crate::control::admin::{LogFilter, Report};
use crate::control::history::HistoryReport;
use crate::control::reload::StatusReport;

/// Returns the document.
pub(super) fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", build()));
    &DOCUMENT
}

fn build() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for resource in &RESOURCES {
        let mut operations = Map::new();
        operations.insert("get".to_owned(), get(resource, &mut generator));
        for write in resource.writes {
            operations
                .insert(write.method().as_str().to_ascii_lowercase(), self::write(*write, &mut generator));
        }
        paths.insert(resource.path.to_owned(), operations.into());
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "gateway admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The state of a running gateway. Times are seconds. Counts start when what they count is made. New members may be \
                            added to any object. JSON is compact for a client whose Accept names application/json, else indented.",
        },
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "`admin.token`" } },
        },
    })
}

fn get(resource: &Resource, generator: &mut SchemaGenerator) -> Value {
    let content = match resource.get {
        Get::Page => json!({ "text/html": {} }),
        Get::Index | Get::Live | Get::Ready => json!({ "text/plain": {} }),
        Get::Config => json!({ "application/yaml": {} }),
        Get::Metrics => json!({ "application/openmetrics-text": {}, "text/plain": {} }),
        Get::OpenApi => json!({ "application/json": {} }),
        Get::Log => json!({ "application/json": { "schema": generator.subschema_for::<LogFilter>() } }),
        Get::Report(report) => json!({ "application/json": { "schema": report_schema(report, generator) } }),
    };
    let mut responses = Map::new();
    if resource.get == Get::Ready {
        responses.insert("503".to_owned(), json!({ "description": "not ready", "content": content }));
    }
    responses.insert("200".to_owned(), json!({ "description": "OK", "content": content }));
    responses.insert("default".to_owned(), refusal());
    let mut operation = json!({ "summary": resource.about, "responses": responses });
    if let (Get::Report(Report::History), Some(operation)) = (resource.get, operation.as_object_mut()) {
        let parameters = ["pool", "endpoint", "address"].map(text_parameter);
        operation.insert("parameters".to_owned(), parameters.into());
    }
    operation
}

/// The schema of a part of a query.
fn text_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "query", "schema": { "type": "string" } })
}

fn report_schema(report: Report, generator: &mut SchemaGenerator) -> schemars::Schema {
    match report {
        Report::Status => generator.subschema_for::<status::StatusReport>(),
        Report::Pools => generator.subschema_for::<pools::PoolsReport>(),
        Report::Routes => generator.subschema_for::<routes::RoutesReport>(),
        Report::Upstreams => generator.subschema_for::<upstreams::UpstreamsReport>(),
        Report::Filters => generator.subschema_for::<filters::FiltersReport>(),
        Report::Listeners => generator.subschema_for::<listeners::ListenersReport>(),
        Report::Advice => generator.subschema_for::<advice::AdviceReport>(),
        Report::Kernel => generator.subschema_for::<kernel::KernelReport>(),
        Report::History => generator.subschema_for::<HistoryReport>(),
        Report::Reloads => generator.subschema_for::<reloads::ReloadsReport>(),
        Report::Reload => generator.subschema_for::<StatusReport>(),
        Report::Drain => generator.subschema_for::<status::Readiness>(),
    }
}

fn write(write: Write, generator: &mut SchemaGenerator) -> Value {
    let (summary, schema) = match write {
        Write::Reload => ("reads the files again", generator.subschema_for::<StatusReport>()),
        Write::Drain => {
            ("has /ready answer 503; nothing else changes", generator.subschema_for::<status::Readiness>())
        }
        Write::EndDrain => ("has /ready answer 200 again", generator.subschema_for::<status::Readiness>()),
        Write::SetLog => ("sets the level of the log", generator.subschema_for::<LogFilter>()),
    };
    let responses = json!({
        "200": { "description": "done", "content": { "application/json": { "schema": schema } } },
        "default": refusal(),
    });
    match write {
        Write::SetLog => json!({
            "summary": summary,
            "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
            "responses": responses,
        }),
        _ => json!({ "summary": summary, "responses": responses }),
    }
}

fn refusal() -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    json!({ "description": "the reason why not", "content": { "application/problem+json": { "schema": schema } } })
}

/// The schema of a problem (RFC 9457).
fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string", "description": "The kind of problem: `tag:gateway,2026:problem:` and its name." },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What to do about it." },
            "errors": {
                "type": "array",
                "items": { "$ref": "#/components/schemas/ErrorReport" },
                "description": "The errors of a refused reload.",
            },
            "error_text": { "type": "string", "description": "The same as `gateway check` prints them." },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::document;

    #[test]
    fn the_description_in_docs_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, document()).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == document(), "run the tests with BLESS=1");
    }
}
