//! The blocks of docs/migrating.md, and the files that they name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::Certificates;
use tempfile::TempDir;

const PAGE: &str = include_str!("../../../docs/migrating.md");

/// The lines that the page says complete a block of ours.
pub(super) const LISTENERS: &str = "listeners: [{ name: web, address: 127.0.0.1:8080 }]\n";
pub(super) const ROUTES: &str = "routes: [{ respond: { status: 404 } }]\n";

/// A fenced block that names its product in its first line.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The heading of the third level that it is under, empty before the first.
    pub(super) section: String,
    /// `gateway`, `nginx`, `envoy`, `traefik` or `kong`.
    pub(super) product: String,
    /// The language of the fence.
    pub(super) language: String,
    /// The lines after the first.
    pub(super) text: String,
    /// The line of the fence on the page.
    pub(super) line: usize,
}

impl Block {
    /// A block of ours with what the page says completes it.
    pub(super) fn completed(&self) -> String {
        let has = |key: &str| self.text.lines().any(|line| line.starts_with(key));
        let mut text = if has("listeners:") { String::new() } else { LISTENERS.to_owned() };
        text += &self.text;
        if !has("routes:") {
            text += ROUTES;
        }
        text
    }
}

/// All blocks, in order.
pub(super) fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut section = String::new();
    let mut lines = PAGE.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(title) = line.strip_prefix("### ") {
            section = title.to_owned();
        } else if line.starts_with("## ") {
            section.clear();
        } else if let Some(language) = line.strip_prefix("```") {
            let (_, first) = lines.next().expect("a block has lines");
            let product = first.strip_prefix("# ").unwrap_or_else(|| panic!("no product: {first}"));
            let text = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
            blocks.push(Block {
                section: section.clone(),
                product: product.to_owned(),
                language: language.to_owned(),
                text: text.map(|line| format!("{line}\n")).collect(),
                line: number + 1,
            });
        }
    }
    let products = ["gateway", "nginx", "envoy", "traefik", "kong"];
    for block in &blocks {
        assert!(products.contains(&block.product.as_str()), "line {}: {}", block.line, block.product);
        let nginx = block.product == "nginx";
        assert_eq!(block.language == "nginx", nginx, "line {}", block.line);
    }
    blocks
}

/// The one block of a product in a section.
pub(super) fn block(section: &str, product: &str) -> Block {
    let mut found = blocks().into_iter().filter(|block| block.section == section && block.product == product);
    let block = found.next().unwrap_or_else(|| panic!("no block of {product} in `{section}`"));
    assert!(found.next().is_none(), "more than one block of {product} in `{section}`");
    block
}

/// A folder with the files that the blocks name, of an authority of its own.
pub(super) fn folder() -> TempDir {
    folder_of(&Certificates::new())
}

/// A folder with the files that the blocks name, of this authority.
pub(super) fn folder_of(authority: &Certificates) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files(authority) {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let is_key = path.extension().is_some_and(|extension| extension == "key");
        fs::write(&path, content).unwrap();
        if is_key {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    folder
}

/// The files that the blocks name.
pub(super) fn files(authority: &Certificates) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("certs/ca.pem".to_owned(), fs::read(authority.ca()).unwrap()),
        ("certs/ca.crl".to_owned(), authority.revocation_list(&[], 2100).into_bytes()),
    ];
    for (name, identity) in [
        ("a", authority.server(&["a.example.com"])),
        ("b", authority.server(&["b.example.com"])),
        ("client", authority.client("client")),
    ] {
        files.push((format!("certs/{name}.pem"), fs::read(identity.cert).unwrap()));
        files.push((format!("certs/{name}.key"), fs::read(identity.key).unwrap()));
    }
    let module = include_bytes!("../../../plugins/prebuilt/redact.wasm");
    files.push(("plugins/prebuilt/redact.wasm".to_owned(), module.to_vec()));
    files
}
