//! `gateway filter run`: runs a filter on a message, without a gateway.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Method, Request, Response, StatusCode, Uri, header};
use tokio::runtime::{Builder, LocalOptions};

use super::input::{contents, file, is_stdin, response_in, text_of};
use super::message::{field, request_head, response_head};
use super::refuse;
use super::report::report;
use super::upstreams::{Answer, played};
use crate::cli::{messages, output, stdout};
use crate::config::{Filter, FilterSettings, WasmCache};
use crate::filter::proxy_wasm::{
    ChunkedBody, Journal, OfflineExchange, OfflineModule, Outcome, PlayedUpstreams,
};

/// The longest pause. Except for a tick, or a call that times out, nothing can end it later.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The filter, and the messages to run it on.
#[derive(Debug, Clone, Args)]
pub(super) struct RunArgs {
    /// The filter's module
    #[arg(value_name = "FILE.wasm")]
    module: PathBuf,

    /// The filter's configuration: JSON, a text that is passed as it is, or a file with either
    #[arg(long, value_name = "JSON|@FILE")]
    config: Option<String>,

    /// Other keys of a filter in gateway.yaml, as YAML: '{ on_error: open, limits: { body: 4KiB } }'
    #[arg(long, value_name = "KEYS")]
    keys: Option<String>,

    /// The response, as `curl -si` prints it: head, empty line, body; `-` for standard input
    ///
    /// Of several heads the last one counts: those of redirects (`curl -L`), proxies and interim responses precede it.
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    response: Option<PathBuf>,

    /// The body of the response; `-` for standard input [default: none]
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,

    /// The status of the response [default: that of --response, or 200]
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<StatusCode>,

    /// A field of the response, which replaces those of that name in --response; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// The answer to calls of the upstream NAME: a file as for --response, `fail` or `timeout`; may be repeated
    ///
    /// Several answers of one upstream are given in their order, and the last one again for all further calls. `fail`
    /// is a connection that cannot be opened; `timeout` lets the time pass that the filter permits.
    #[arg(long, value_name = "NAME=FILE|fail|timeout")]
    answer: Vec<String>,

    /// Cut each body into this number of pieces, which arrive one after the other
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    chunks: usize,

    /// The method of the request
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: Method,

    /// The path of the request, with its query
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: Uri,

    /// A field of the request; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    request_header: Vec<String>,

    /// The body of the request; `-` for standard input [default: none]
    #[arg(long, value_name = "FILE")]
    request_body: Option<PathBuf>,

    /// Print the request as it goes upstream, before the response
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "always"
    )]
    show_request: ShowRequest,

    /// Show the fields and the body that each callback received, and each call in full
    #[arg(long, short)]
    verbose: bool,

    /// Print only the body of the response
    #[arg(long)]
    body_only: bool,
}

/// The condition for printing the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum ShowRequest {
    /// If the filter has changed it
    #[default]
    Changed,
    /// If it goes upstream
    Always,
    /// Never
    Never,
}

fn status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse().ok().filter(|status: &StatusCode| (200..=599).contains(&status.as_u16()));
    status.ok_or_else(|| "a final response has a status from 200 to 599".to_owned())
}

/// Runs the filter on the messages, and prints the report and the result.
pub(super) fn run(args: &RunArgs) -> ExitCode {
    let Prepared { settings, wasm, messages, upstreams, notes } = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => return refuse(&error),
    };
    let module = match OfflineModule::new(&wasm, &WasmCache::Auto, upstreams) {
        Ok(module) => module,
        Err(error) => {
            messages::error(&format!("{}: {error}", args.module.display()));
            return ExitCode::FAILURE;
        }
    };
    let journal = Rc::new(Journal::default());
    let outcome = match exchange(&module, settings, messages.given(args), &journal) {
        Ok(outcome) => outcome,
        Err(error) => return refuse(&format!("cannot start the runtime: {error}")),
    };
    for note in notes {
        messages::text(&format!("note: {note}\n"));
    }
    messages::text(&report(&journal, args.verbose));
    let Some(outcome) = outcome else {
        if args.config.is_none() {
            messages::text(
                "note: the filter was started without a configuration; give it one by `--config`\n",
            );
        }
        return ExitCode::FAILURE;
    };
    for name in module.upstreams().idle() {
        messages::warning(&format!(
            "`--answer {name}=…` is not used: the filter does not call an upstream `{name}`"
        ));
    }
    if let Some(error) = outcome.error {
        messages::text(&format!("{:>10}  the exchange ended by {}: {error}\n", "", error.reason()));
    }
    if let Err(error) = print(args, &messages.request, &outcome) {
        return output::exit_code(&error);
    }
    if outcome.error.is_none() && !journal.has_fault() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The request and the response before the filter.
struct Messages {
    request: Request<Bytes>,
    response: Response<Bytes>,
}

impl Messages {
    fn given(&self, args: &RunArgs) -> OfflineExchange {
        let pieces = |body: &Bytes| ChunkedBody::of(body, args.chunks);
        OfflineExchange {
            request: self.request.clone().map(|body| pieces(&body)),
            response: self.response.clone().map(|body| pieces(&body)),
        }
    }
}

/// Everything that a run needs.
struct Prepared {
    settings: FilterSettings,
    wasm: Vec<u8>,
    messages: Messages,
    upstreams: PlayedUpstreams,
    /// Remarks about the input files.
    notes: Vec<String>,
}

fn prepare(args: &RunArgs) -> Result<Prepared, String> {
    let answers: Result<Vec<Answer>, String> = args.answer.iter().map(|text| Answer::parse(text)).collect();
    let answers = answers.map_err(|error| format!("--answer: {error}"))?;
    let inputs = [&args.response, &args.body, &args.request_body].into_iter().flatten().map(PathBuf::as_path);
    let inputs = inputs.chain(answers.iter().filter_map(Answer::path));
    if inputs.filter(|path| is_stdin(path)).count() > 1 {
        return Err("standard input can be read once: only one option can be `-`".to_owned());
    }
    let config = match args.config.as_deref().map(|config| (config, config.strip_prefix('@'))) {
        Some((_, Some(path))) => Some(text_of(Path::new(path))?),
        Some((config, None)) => Some(config.to_owned()),
        None => None,
    };
    let settings = Filter::alone(&args.module, config.as_deref(), args.keys.as_deref());
    let mut settings = settings.map_err(|error| format!("--keys: {error}"))?;
    if !answers.iter().any(Answer::takes_time) {
        settings.pause = settings.pause.min(PAUSE_MAX);
    }
    let wasm = contents(&args.module)?;
    let mut notes = Vec::new();
    let (request, response) = (request_of(args)?, response_of(args, &mut notes)?);
    let upstreams = played(answers, &mut notes).map_err(|error| format!("--answer: {error}"))?;
    Ok(Prepared { settings, wasm, messages: Messages { request, response }, upstreams, notes })
}

fn request_of(args: &RunArgs) -> Result<Request<Bytes>, String> {
    if args.path.scheme().is_some() || !args.path.path().starts_with('/') {
        return Err(format!("--path: `{}` is not a path such as `/a?b=c`", args.path));
    }
    let mut request = Request::new(file(args.request_body.as_deref())?);
    *request.method_mut() = args.method.clone();
    *request.uri_mut() = args.path.clone();
    for text in &args.request_header {
        let (name, value) = field(text).map_err(|error| format!("--request-header: {error}"))?;
        request.headers_mut().append(name, value);
    }
    request
        .headers_mut()
        .entry(header::HOST)
        .or_insert(const { http::HeaderValue::from_static("localhost") });
    // The length follows from the body.
    request.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(request)
}

fn response_of(args: &RunArgs, notes: &mut Vec<String>) -> Result<Response<Bytes>, String> {
    let mut made = match &args.response {
        Some(path) => response_in(path, &args.method, notes)?,
        None => Response::new(file(args.body.as_deref())?),
    };
    if let Some(status) = args.status {
        *made.status_mut() = status;
    }
    let fields: Result<Vec<_>, String> = args.header.iter().map(|text| field(text)).collect();
    let fields = fields.map_err(|error| format!("--header: {error}"))?;
    for (name, _) in &fields {
        made.headers_mut().remove(name);
    }
    made.headers_mut().extend(fields.into_iter().map(|(name, value)| (Some(name), value)));
    Ok(made)
}

/// Runs the exchange. Returns `None` if the filter does not start.
fn exchange(
    module: &OfflineModule,
    settings: FilterSettings,
    given: OfflineExchange,
    journal: &Rc<Journal>,
) -> io::Result<Option<Outcome>> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    Ok(runtime.block_on(async {
        match module.start(settings, journal) {
            Ok(offline) => Some(offline.exchange(given).await),
            Err(()) => None,
        }
    }))
}

/// Prints the resulting messages.
fn print(args: &RunArgs, before: &Request<Bytes>, outcome: &Outcome) -> io::Result<()> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let sent = outcome.request.as_ref().filter(|sent| match args.show_request {
        _ if args.body_only => false,
        ShowRequest::Changed => is_changed(before, sent),
        ShowRequest::Always => true,
        ShowRequest::Never => false,
    });
    let sent_head = sent.map(request_head).unwrap_or_default();
    if let Some(sent) = sent {
        let gap: &[u8] = if sent.body().is_empty() { b"" } else { b"\n\n" };
        parts.extend([&*sent_head, sent.body(), gap]);
    }
    let head = response_head(&outcome.response, before.method());
    if !args.body_only {
        parts.push(&head);
    }
    let body = outcome.response.body();
    let note;
    match io::stdout().is_terminal() {
        true if is_binary(body) => {
            note =
                format!("[{} bytes that are not text: redirect them to a file or a program]\n", body.len());
            parts.push(note.as_bytes());
        }
        true if !body.is_empty() && !body.ends_with(b"\n") => parts.extend([&**body, b"\n"]),
        _ => parts.push(body),
    }
    stdout::print_parts(&parts)
}

fn is_changed(before: &Request<Bytes>, after: &Request<Bytes>) -> bool {
    before.method() != after.method()
        || before.uri() != after.uri()
        || before.headers() != after.headers()
        || before.body() != after.body()
}

/// Returns true if a terminal would interpret a part of the body as a command.
fn is_binary(body: &[u8]) -> bool {
    let is_text = |character: char| !character.is_control() || matches!(character, '\n' | '\r' | '\t');
    str::from_utf8(body).map_or(true, |text| !text.chars().all(is_text))
}
