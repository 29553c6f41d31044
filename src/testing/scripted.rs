//! A plugin that executes a script: host functions in any order, with any arguments, in any callback, and from within
//! its allocator. For tests and fuzzing: whatever a module does, the host must continue.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::runtime::{Builder, LocalOptions};

use crate::config::{Filter, FilterSettings, OnError, OnHeadersPause, WasmCache};
use crate::filter::proxy_wasm::offline::journal::Journal;
use crate::filter::proxy_wasm::offline::played::PlayedUpstreams;
use crate::filter::proxy_wasm::offline::{ChunkedBody, OfflineExchange, OfflineModule};
use crate::filter::proxy_wasm::pairs;

/// The host functions by name, each with its parameters: `i` for 32 bits, `l` for 64.
const FUNCTIONS: [(&str, &str); 61] = [
    ("env.proxy_log", "iii"),
    ("env.proxy_get_log_level", "i"),
    ("env.proxy_get_current_time_nanoseconds", "i"),
    ("env.proxy_set_tick_period_milliseconds", "i"),
    ("env.proxy_get_buffer_bytes", "iiiii"),
    ("env.proxy_get_buffer_status", "iii"),
    ("env.proxy_set_buffer_bytes", "iiiii"),
    ("env.proxy_get_header_map_size", "ii"),
    ("env.proxy_get_header_map_pairs", "iii"),
    ("env.proxy_set_header_map_pairs", "iii"),
    ("env.proxy_get_header_map_value", "iiiii"),
    ("env.proxy_add_header_map_value", "iiiii"),
    ("env.proxy_replace_header_map_value", "iiiii"),
    ("env.proxy_remove_header_map_value", "iii"),
    ("env.proxy_get_property", "iiii"),
    ("env.proxy_set_property", "iiii"),
    ("env.proxy_send_local_response", "iiiiiiii"),
    ("env.proxy_continue_stream", "i"),
    ("env.proxy_close_stream", "i"),
    ("env.proxy_get_status", "iii"),
    ("env.proxy_http_call", "iiiiiiiiii"),
    ("env.proxy_grpc_call", "iiiiiiiiiiii"),
    ("env.proxy_grpc_stream", "iiiiiiiii"),
    ("env.proxy_grpc_send", "iiii"),
    ("env.proxy_grpc_cancel", "i"),
    ("env.proxy_grpc_close", "i"),
    ("env.proxy_get_shared_data", "iiiii"),
    ("env.proxy_set_shared_data", "iiiii"),
    ("env.proxy_register_shared_queue", "iii"),
    ("env.proxy_resolve_shared_queue", "iiiii"),
    ("env.proxy_enqueue_shared_queue", "iii"),
    ("env.proxy_dequeue_shared_queue", "iii"),
    ("env.proxy_define_metric", "iiii"),
    ("env.proxy_increment_metric", "il"),
    ("env.proxy_record_metric", "il"),
    ("env.proxy_get_metric", "ii"),
    ("env.proxy_set_effective_context", "i"),
    ("env.proxy_done", ""),
    ("env.proxy_call_foreign_function", "iiiiii"),
    ("env.proxy_get_configuration", "ii"),
    ("env.proxy_continue_request", ""),
    ("env.proxy_continue_response", ""),
    ("env.proxy_clear_route_cache", ""),
    ("env.pthread_equal", "ii"),
    ("wasi_snapshot_preview1.environ_sizes_get", "ii"),
    ("wasi_snapshot_preview1.environ_get", "ii"),
    ("wasi_snapshot_preview1.args_sizes_get", "ii"),
    ("wasi_snapshot_preview1.args_get", "ii"),
    ("wasi_snapshot_preview1.random_get", "ii"),
    ("wasi_snapshot_preview1.sched_yield", ""),
    ("wasi_snapshot_preview1.clock_time_get", "ili"),
    ("wasi_snapshot_preview1.clock_res_get", "ii"),
    ("wasi_snapshot_preview1.poll_oneoff", "iiii"),
    ("wasi_snapshot_preview1.fd_write", "iiii"),
    ("wasi_snapshot_preview1.fd_fdstat_get", "ii"),
    ("wasi_snapshot_preview1.fd_fdstat_set_flags", "ii"),
    ("wasi_snapshot_preview1.fd_read", "iiii"),
    ("wasi_snapshot_preview1.fd_prestat_get", "ii"),
    ("wasi_snapshot_preview1.fd_prestat_dir_name", "iii"),
    ("wasi_snapshot_preview1.fd_close", "i"),
    ("wasi_snapshot_preview1.fd_seek", "ilii"),
];

/// The callbacks, each with its parameters and its return value: none, the script's choice, or always yes.
const CALLBACKS: [(&str, &str, Answers); 17] = [
    ("proxy_on_vm_start", "ii", Answers::Yes),
    ("proxy_on_configure", "ii", Answers::Yes),
    ("proxy_on_request_headers", "iii", Answers::Script),
    ("proxy_on_request_body", "iii", Answers::Script),
    ("proxy_on_request_trailers", "ii", Answers::Script),
    ("proxy_on_response_headers", "iii", Answers::Script),
    ("proxy_on_response_body", "iii", Answers::Script),
    ("proxy_on_response_trailers", "ii", Answers::Script),
    ("proxy_on_http_call_response", "iiiii", Answers::Nothing),
    ("proxy_on_tick", "i", Answers::Nothing),
    ("proxy_on_queue_ready", "ii", Answers::Nothing),
    ("proxy_on_foreign_function", "iii", Answers::Nothing),
    ("proxy_on_done", "i", Answers::Script),
    ("proxy_on_log", "i", Answers::Nothing),
    ("proxy_on_delete", "i", Answers::Nothing),
    ("proxy_on_grpc_close", "iii", Answers::Nothing),
    ("_initialize", "", Answers::Nothing),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Nothing,
    Script,
    Yes,
}

/// One page of memory. The script's copy is at the beginning, the script itself in the middle, and useful arguments are
/// at the end. A call takes its arguments from the script. A byte specifies the form of the next one (a byte, two bytes
/// with a sign, four bytes, the number in memory at a byte's address, or a byte that counts from the end of the
/// memory), and then the argument follows.
const INTERPRETER: &str = r#"
(memory (export "memory") 1)
(func (export "proxy_abi_version_0_2_1"))
(global $at (mut i32) (i32.const 0))
(global $end (mut i32) (i32.const 0))
(global $is_loaded (mut i32) (i32.const 0))
(global $is_allocating (mut i32) (i32.const 0))
(func $take (param $bytes i32) (result i32)
  (local $before i32)
  (local.set $before (global.get $at))
  (if (i32.gt_u (i32.add (local.get $before) (local.get $bytes)) (global.get $end))
    (then (global.set $at (global.get $end)) (return (i32.const 65272))))
  (global.set $at (i32.add (local.get $before) (local.get $bytes)))
  (local.get $before))
(func $byte (result i32) (i32.load8_u (call $take (i32.const 1))))
(func $action (param $byte i32) (result i32)
  (if (result i32) (i32.and (local.get $byte) (i32.const 8))
    (then (i32.shr_u (local.get $byte) (i32.const 4)))
    (else (i32.and (local.get $byte) (i32.const 1)))))
(func $argument (result i32)
  (local $form i32)
  (local.set $form (i32.and (call $byte) (i32.const 7)))
  (if (i32.eqz (local.get $form)) (then (return (call $byte))))
  (if (i32.eq (local.get $form) (i32.const 1)) (then (return (i32.load16_s (call $take (i32.const 2))))))
  (if (i32.eq (local.get $form) (i32.const 2)) (then (return (i32.load (call $take (i32.const 4))))))
  (if (i32.eq (local.get $form) (i32.const 3)) (then (return (i32.load (call $byte)))))
  (i32.sub (i32.const 65536) (call $byte)))
(func $run
  (local $calls i32)
  (local.set $calls (i32.and (call $byte) (i32.const 7)))
  (block $done
    (loop $next
      (br_if $done (i32.ge_u (global.get $at) (global.get $end)))
      (br_if $done (i32.eqz (local.get $calls)))
      (local.set $calls (i32.sub (local.get $calls) (i32.const 1)))
      (call $step)
      (br $next))))
(func $allocate (export "proxy_on_memory_allocate") (param i32) (result i32)
  (if (i32.eqz (global.get $is_loaded)) (then (return (i32.const 16384))))
  (if (i32.eqz (global.get $is_allocating)) (then
    (global.set $is_allocating (i32.const 1))
    (call $step)
    (global.set $is_allocating (i32.const 0))))
  (call $argument))
(func (export "proxy_on_context_create") (param $context i32) (param $parent i32)
  (if (i32.eqz (global.get $is_loaded)) (then
    (drop (call $f4 (i32.const 7) (i32.const 0) (i32.const 16384) (i32.const 0) (i32.const 4)))
    (global.set $at (i32.const 16384))
    (global.set $end (i32.add (i32.const 16384) (i32.load (i32.const 4))))
    (memory.copy (i32.const 0) (i32.const 16384) (i32.load (i32.const 4)))
    (global.set $is_loaded (i32.const 1))))
  (call $run))
"#;

/// The arguments of a call, 62 bytes, from 255 bytes before the end on. Other useful names follow.
const USEFUL: &str = concat!(
    r"\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\02\00\00\00\0a\00\00\00\01\00\00\00",
    r":method\00GET\00:path\00/x\00:authority\00a\00",
    r":status\00404 content-length te x-a: b\0d\0a request\00headers\00x-a plugin_root_id clear_route_cache ",
    r"application/grpc host upstream",
);

/// Returns a module that runs scripts, in text form.
pub(crate) fn module_text() -> String {
    let parameters = |kinds: &str| -> String {
        kinds.chars().map(|kind| if kind == 'l' { " i64" } else { " i32" }).collect()
    };
    let imports = FUNCTIONS.iter().enumerate().map(|(index, (name, kinds))| {
        let (module, name) = name.split_once('.').unwrap_or(("env", name));
        let parameters = parameters(kinds);
        format!("(import \"{module}\" \"{name}\" (func $f{index} (param{parameters}) (result i32)))\n")
    });
    let calls = FUNCTIONS.iter().enumerate().map(|(index, (_, kinds))| {
        let arguments: String = kinds
            .chars()
            .map(
                |kind| if kind == 'l' { " (i64.extend_i32_s (call $argument))" } else { " (call $argument)" },
            )
            .collect();
        format!("(if (i32.eq (local.get 0) (i32.const {index})) (then (drop (call $f{index}{arguments}))))\n")
    });
    let step = format!(
        "(func $step (local i32) (local.set 0 (i32.rem_u (call $byte) (i32.const {})))\n{})\n",
        FUNCTIONS.len(),
        calls.collect::<String>()
    );
    let callbacks = CALLBACKS.iter().map(|(name, kinds, answers)| {
        let (result, answer) = match answers {
            Answers::Nothing => ("", ""),
            Answers::Yes => ("(result i32)", "(i32.const 1)"),
            Answers::Script => ("(result i32)", "(call $action (call $byte))"),
        };
        format!("(func (export \"{name}\") (param{}) {result} (call $run) {answer})\n", parameters(kinds))
    });
    format!(
        "(module {}{INTERPRETER}{step}{}(data (i32.const 65281) \"{USEFUL}\"))",
        imports.collect::<String>(),
        callbacks.collect::<String>()
    )
}

/// The compiled module.
pub(crate) struct Scripted {
    module: OfflineModule,
    settings: FilterSettings,
}

impl Scripted {
    /// Builds the plugin. `wasm` is the output of [`module_text`] in binary form.
    ///
    /// # Errors
    /// Returns an error if it cannot be used.
    pub(crate) fn new(wasm: &[u8]) -> Result<Self, String> {
        let module = OfflineModule::new(wasm, &WasmCache::Off, PlayedUpstreams::default())?;
        let settings = Filter::alone("scripted.wasm".as_ref(), None, Some("env: { A: b }"))?;
        // As a rule, a filter that paused does not continue by itself.
        Ok(Self {
            module,
            settings: FilterSettings {
                pause: Duration::ZERO,
                body_bytes_max: 1024,
                output_bytes_max: 2048,
                ..settings
            },
        })
    }

    /// Runs a script. Its first byte selects the treatment of the filter and the kind of messages. Returns the journal
    /// of the filter.
    pub(crate) fn run(&self, script: &[u8]) -> Rc<Journal> {
        let journal = Rc::new(Journal::default());
        let Some((kind, script)) = script.split_first() else { return journal };
        let settings = FilterSettings {
            config: script.get(..script.len().min(16384)).unwrap_or_default().to_vec(),
            on_error: if kind & 1 == 0 { OnError::Closed } else { OnError::Open },
            on_headers_pause: if kind & 2 == 0 {
                OnHeadersPause::StopAll
            } else {
                OnHeadersPause::ContinueBody
            },
            ..self.settings.clone()
        };
        let given = given(*kind, script);
        let Ok(runtime) = Builder::new_current_thread().enable_time().build_local(LocalOptions::default())
        else {
            return journal;
        };
        runtime.block_on(async {
            if let Ok(offline) = self.module.start(settings, &journal) {
                offline.exchange(given).await;
            }
        });
        journal
    }
}

fn given(kind: u8, script: &[u8]) -> OfflineExchange {
    let length = if kind & 4 == 0 { script.len().min(64) } else { 0 };
    let body = Bytes::copy_from_slice(script.get(..length).unwrap_or_default());
    let pieces = || {
        let pieces = ChunkedBody::of(&body, 3);
        let trailers = HeaderMap::from_iter([(header::ETAG, const { HeaderValue::from_static("x") })]);
        if kind & 8 == 0 { pieces } else { pieces.with_trailers(trailers) }
    };
    let mut given = OfflineExchange { request: Request::new(pieces()), response: Response::new(pieces()) };
    let value = const { HeaderValue::from_static("application/grpc") };
    if kind & 16 != 0 {
        given.request.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    for headers in [given.request.headers_mut(), given.response.headers_mut()] {
        headers.append("x-a", const { HeaderValue::from_static("1") });
        headers.append("x-a", const { HeaderValue::from_static("2") });
    }
    given
}

/// Parses bytes as a header map. A valid one must keep its meaning when it is written again.
pub(crate) fn read_pairs(bytes: &[u8]) -> bool {
    let Some(pairs) = pairs::read(bytes) else { return true };
    let mut written = vec![0; pairs::length(pairs.iter().copied())];
    pairs::write(&mut written, pairs.len(), || pairs.iter().copied());
    pairs::read(&written).as_ref() == Some(&pairs)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::filter::proxy_wasm::Entry;

    fn xorshift(seed: u64) -> impl FnMut() -> u8 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        }
    }

    /// Returns a script that makes calls, by the numbers of `random`. Most of its arguments are useful.
    fn script(random: &mut impl FnMut() -> u8) -> Vec<u8> {
        let mut script = vec![random()];
        for _ in 0..24 {
            let calls = random() % 5;
            script.push(calls);
            for _ in 0..calls {
                if random().is_multiple_of(8) {
                    script.extend(recipe(random()));
                    continue;
                }
                let index = random() % u8::try_from(FUNCTIONS.len()).unwrap_or(1);
                script.push(index);
                let kinds = FUNCTIONS.get(usize::from(index)).map_or("", |(_, kinds)| kinds);
                for _ in kinds.chars() {
                    // Small numbers and places near the end are the most frequent forms.
                    let form = [0, 0, 0, 4, 4, 4, 1, 2, 3, 3][usize::from(random() % 10)];
                    script.push(form);
                    let bytes = [1, 2, 4, 1, 1][usize::from(form)];
                    let is_small = form == 0 && !random().is_multiple_of(4);
                    script.extend((0..bytes).map(|_| if is_small { random() % 9 } else { random() }));
                }
            }
            // The return value of a callback.
            script.push(random());
        }
        script
    }

    /// Calls that make sense, which are rare among random ones.
    const RECIPES: [(&str, &[(u8, u8)]); 7] = [
        (
            "env.proxy_http_call",
            &[(4, 255), (0, 1), (4, 255), (0, 62), (0, 0), (0, 0), (0, 0), (0, 0), (0, 9), (0, 200)],
        ),
        (
            "env.proxy_grpc_call",
            &[
                (4, 79),
                (0, 8),
                (4, 79),
                (0, 8),
                (4, 79),
                (0, 8), // the upstream, the service and the method are `upstream`
                (0, 0),
                (0, 0),
                (0, 0),
                (0, 9),
                (0, 9),
                (0, 200),
            ],
        ),
        ("env.proxy_register_shared_queue", &[(4, 255), (0, 1), (0, 200)]),
        ("env.proxy_enqueue_shared_queue", &[(3, 200), (4, 255), (0, 9)]),
        ("env.proxy_set_header_map_pairs", &[(0, 2), (4, 255), (0, 62)]),
        (
            "env.proxy_send_local_response",
            &[(0, 200), (0, 0), (0, 0), (0, 0), (0, 9), (4, 255), (0, 62), (0, 0)],
        ),
        ("env.proxy_set_buffer_bytes", &[(0, 1), (0, 3), (0, 2), (0, 0), (1, 4)]),
    ];

    fn recipe(number: u8) -> Vec<u8> {
        let (name, arguments) = RECIPES[usize::from(number) % RECIPES.len()];
        let index = FUNCTIONS.iter().position(|(function, _)| *function == name).unwrap();
        let mut bytes = vec![u8::try_from(index).unwrap()];
        for (form, value) in arguments {
            bytes.extend([*form, *value]);
            bytes.extend((*form == 1).then_some(0));
        }
        bytes
    }

    #[test]
    fn host_survives_any_sequence_of_calls_of_a_module() {
        let scripted = Scripted::new(&wat::parse_str(module_text()).unwrap()).unwrap();
        let mut callbacks = BTreeSet::new();
        for seed in 1..=1500 {
            let mut random = xorshift(seed);
            let journal = scripted.run(&script(&mut random));
            callbacks.extend(journal.entries().into_iter().filter_map(|entry| match entry {
                Entry::Call(call) => Some(call.callback),
                _ => None,
            }));
        }
        // All except those that no host calls, and the tick, for which there is seldom time.
        let expected = CALLBACKS.iter().map(|(name, ..)| *name).chain(["proxy_on_context_create"]);
        let rare = ["proxy_on_tick", "proxy_on_foreign_function"];
        let missing: Vec<_> =
            expected.filter(|name| !rare.contains(name) && !callbacks.contains(name)).collect();
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn bytes_that_are_read_as_fields_are_written_as_the_same() {
        for seed in 1..=20_000 {
            let mut random = xorshift(seed);
            // Small counts and lengths, so that some of them fit.
            let mut bytes: Vec<u8> = Vec::new();
            for _ in 0..random() % 9 {
                bytes.extend([random() % 5, 0, 0, if random() == 0 { 255 } else { 0 }]);
            }
            bytes.extend((0..random() % 32).map(|_| random()));
            assert!(read_pairs(&bytes), "{bytes:?}");
        }
    }
}
