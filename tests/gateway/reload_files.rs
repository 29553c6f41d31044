//! However gateway.yaml is written, saving it is enough.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use support::{Gateway, wait_until};

use crate::filter_script::script;
use crate::reloading::{
    BASE, Clock, answering, file, get, is_generation, refused, replace, serves, start, write_in_place,
};

/// Runs a program of the system's, as a person would.
fn run(program: &str, arguments: &[&Path]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success());
}

/// Each way takes the folder and the new content, in the order of the table: some go on from what the one before has left.
type Way = (&'static str, fn(&Path, &str));

const AS_A_FILE: [Way; 8] = [
    ("written in place", |folder, text| write_in_place(&folder.join("gateway.yaml"), text)),
    ("appended to", |folder, text| {
        // The end of a block scalar would be another text: so all but the last line is there before.
        let file = folder.join("gateway.yaml");
        let mut open = OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
        text.split_inclusive('\n').for_each(|line| open.write_all(line.as_bytes()).unwrap());
    }),
    ("saved by an editor that renames", |folder, text| replace(&folder.join("gateway.yaml"), text)),
    ("saved by an editor that moves the old one aside", |folder, text| {
        let file = folder.join("gateway.yaml");
        fs::rename(&file, folder.join("gateway.yaml~")).unwrap();
        fs::write(&file, text).unwrap();
        fs::remove_file(folder.join("gateway.yaml~")).unwrap();
    }),
    ("moved in from another folder", |folder, text| {
        fs::create_dir_all(folder.join("elsewhere")).unwrap();
        fs::write(folder.join("elsewhere/new.yaml"), text).unwrap();
        run("mv", &[&folder.join("elsewhere/new.yaml"), &folder.join("gateway.yaml")]);
    }),
    ("copied", |folder, text| {
        fs::write(folder.join("new.yaml"), text).unwrap();
        run("cp", &[&folder.join("new.yaml"), &folder.join("gateway.yaml")]);
    }),
    ("linked", |folder, text| {
        fs::write(folder.join("linked.yaml"), text).unwrap();
        fs::remove_file(folder.join("gateway.yaml")).unwrap();
        fs::hard_link(folder.join("linked.yaml"), folder.join("gateway.yaml")).unwrap();
    }),
    ("deleted and created", |folder, text| {
        fs::remove_file(folder.join("gateway.yaml")).unwrap();
        fs::write(folder.join("gateway.yaml"), text).unwrap();
    }),
];

const BY_LINKS: [Way; 7] = [
    ("a ConfigMap is mounted", |folder, text| {
        fs::create_dir(folder.join("..1")).unwrap();
        fs::write(folder.join("..1/gateway.yaml"), text).unwrap();
        symlink("..1", folder.join("..data")).unwrap();
        swap_link(Path::new("..data/gateway.yaml"), &folder.join("gateway.yaml"));
    }),
    ("a ConfigMap is swapped", |folder, text| swap_config_map(folder, text, "..1", "..2")),
    ("a ConfigMap is swapped again", |folder, text| swap_config_map(folder, text, "..2", "..3")),
    ("a link leads elsewhere", |folder, text| {
        fs::create_dir(folder.join("far")).unwrap();
        fs::write(folder.join("far/real.yaml"), text).unwrap();
        swap_link(&folder.join("far/real.yaml"), &folder.join("gateway.yaml"));
    }),
    ("what a link leads to is written", |folder, text| write_in_place(&folder.join("far/real.yaml"), text)),
    ("what a link leads to is replaced", |folder, text| replace(&folder.join("far/real.yaml"), text)),
    ("a link is replaced by a file", |folder, text| replace(&folder.join("gateway.yaml"), text)),
];

fn swap_link(target: &Path, link: &Path) {
    let new = link.parent().unwrap().join("new-link");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

/// As a kubelet does it: a new folder, and then all files at once by one rename.
fn swap_config_map(folder: &Path, text: &str, old: &str, new: &str) {
    fs::create_dir(folder.join(new)).unwrap();
    fs::write(folder.join(new).join("gateway.yaml"), text).unwrap();
    swap_link(Path::new(new), &folder.join("..data"));
    fs::remove_dir_all(folder.join(old)).unwrap();
}

async fn each_makes_it_live(gateway: &Gateway, ways: &[Way]) {
    for (number, (way, write)) in (2..).zip(ways) {
        write(gateway.folder(), &answering(way));
        serves(gateway, way).await;
        // One reload and no more.
        is_generation(gateway, number).await;
    }
    assert_eq!(refused(gateway).await, 0, "{}", gateway.output());
}

#[tokio::test]
async fn a_file_is_live_however_it_was_saved() {
    each_makes_it_live(&start(answering("first")).await, &AS_A_FILE).await;
}

#[tokio::test]
async fn a_file_behind_links_is_live_whichever_of_them_is_changed() {
    each_makes_it_live(&start(answering("first")).await, &BY_LINKS).await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_with_its_file_is_watched_again() {
    let gateway = start(answering("first")).await;
    let (folder, aside) = (gateway.folder(), gateway.folder().with_extension("aside"));
    fs::rename(folder, &aside).unwrap();
    fs::create_dir(folder).unwrap();
    fs::write(file(&gateway), answering("second")).unwrap();
    serves(&gateway, "second").await;
    // The file that was moved away is not written any more; the new one is.
    fs::write(aside.join("gateway.yaml"), answering("from aside")).unwrap();
    replace(&file(&gateway), answering("third"));
    serves(&gateway, "third").await;
    fs::remove_dir_all(folder).unwrap();
    fs::rename(&aside, folder).unwrap();
    serves(&gateway, "from aside").await;
}

/// Writes the first half of a file and leaves the rest for later.
struct Halves<'a> {
    open: File,
    rest: &'a str,
}

impl<'a> Halves<'a> {
    fn begin(path: &Path, text: &'a str, at: &str) -> Self {
        let (half, rest) = text.split_at(text.find(at).unwrap());
        let mut open = File::create(path).unwrap();
        open.write_all(half.as_bytes()).unwrap();
        Self { open, rest }
    }

    fn end(mut self) {
        self.open.write_all(self.rest.as_bytes()).unwrap();
    }
}

fn two_routes(body: &str) -> String {
    let route =
        |name| format!("  - {{ name: {name}, match: {{ path: /{name} }}, respond: {{ body: {body} }} }}\n");
    format!("{BASE}routes:\n{}{}", route("first"), route("second"))
}

#[tokio::test]
async fn a_half_written_file_is_not_served_even_if_it_is_valid() {
    let gateway = start(two_routes("old")).await;
    let mut clock = Clock::start().await;
    let text = two_routes("new");
    for (turn, cut) in [(1, "  - { name: second"), (2, "/second"), (3, "listeners")] {
        // What was saved before is settled, so that nothing but the half is news.
        clock.tick().await;
        let halves = Halves::begin(&file(&gateway), &text, cut);
        clock.tick().await;
        for path in ["/first", "/second"] {
            assert_eq!(get(&gateway, path).await, "old", "{path} with all before {cut}");
        }
        halves.end();
        wait_until("the whole to be live", async || get(&gateway, "/first").await == "new").await;
        assert_eq!(get(&gateway, "/second").await, "new");
        is_generation(&gateway, 2 * turn).await;
        gateway.reload(&two_routes("old")).await;
    }
    assert_eq!(refused(&gateway).await, 0, "{}", gateway.output());
}

/// Waits until the gateway's thread that reads files sleeps (proc(5)), as it does while it opens a pipe.
async fn reading_waits(gateway: &Gateway) {
    let tasks = format!("/proc/{}/task", gateway.pid());
    wait_until("a reload that waits for the pipe", async || {
        fs::read_dir(&tasks).unwrap().flatten().any(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.contains("(reload) S")
        })
    })
    .await;
}

#[tokio::test]
async fn filters_of_a_reload_that_is_postponed_are_not_started() {
    let gateway = start(answering("old") + "workers: 1\n").await;
    let mut clock = Clock::start().await;
    let noted = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $note 'configure' (i32.const 0) (i32.const 0)) (i32.const 1))"#;
    let folder = file(&gateway).parent().unwrap().to_owned();
    fs::write(folder.join("noted.wasm"), script(noted)).unwrap();
    let pipe = folder.join("pipe");
    run("mkfifo", &[&pipe]);
    let text = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
telemetry: {{ access_log: {{ output: '{}' }} }}
workers: 1
wasm: {{ cache: off }}
filters: {{ noted: {{ wasm: noted.wasm }} }}
routes: [{{ respond: {{ body: new }}, filters: [noted] }}]
",
        pipe.display()
    );
    replace(&file(&gateway), &text);
    reading_waits(&gateway).await;
    // The file that was read whole is written again before the reload gets any further.
    let halves = Halves::begin(&file(&gateway), &text, "routes");
    clock.tick().await;
    let _reader = tokio::task::spawn_blocking(move || File::open(pipe)).await.unwrap().unwrap();
    clock.tick().await;
    assert!(!gateway.output().contains("note: configure"), "{}", gateway.output());
    halves.end();
    serves(&gateway, "new").await;
    // The log comes by a pipe, which may be behind the response.
    gateway.wait_for_log("note: configure").await;
    assert_eq!(gateway.output().matches("note: configure").count(), 1, "{}", gateway.output());
}
