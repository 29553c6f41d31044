//! docs/migrating.md: every block loads, and pairs that mean a behaviour behave alike in nginx and in the gateway.

mod behaviour;
mod both;
mod defaults;
pub(crate) mod nginx;
mod page;
mod secure;
mod theirs;

use std::collections::BTreeMap;

use support::run_to_exit;

use crate::PROGRAM;

#[test]
fn every_section_with_blocks_has_theirs_and_one_of_ours() {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for block in page::blocks() {
        sections.entry(block.section).or_default().push(block.product);
    }
    assert!(sections.len() > 20, "{sections:?}");
    // The lines that complete a block stand by themselves.
    sections.remove("");
    for (section, products) in sections {
        let ours = products.iter().filter(|product| *product == "gateway").count();
        assert!(ours == 1 && products.len() > 1, "{section}: {products:?}");
        assert_eq!(products.last().map(String::as_str), Some("gateway"), "{section}: ours is the last");
    }
}

#[tokio::test]
async fn every_gateway_block_passes_gateway_check_without_a_warning() {
    let folder = page::folder();
    let file = folder.path().join("gateway.yaml");
    for block in page::blocks().iter().filter(|block| block.product == "gateway") {
        std::fs::write(&file, block.completed()).unwrap();
        let output = run_to_exit(PROGRAM, &["check", "--config", file.to_str().unwrap()]).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.is_empty(), "line {}\n{stderr}", block.line);
    }
}

#[test]
fn the_completing_lines_of_the_page_are_those_of_this_test() {
    let ours = page::blocks().into_iter().find(|block| block.section.is_empty()).unwrap();
    assert_eq!(ours.text, [page::LISTENERS, page::ROUTES].concat());
}

#[tokio::test]
async fn every_nginx_block_loads_in_nginx_without_a_warning() {
    let folder = page::folder();
    for block in page::blocks().iter().filter(|block| block.product == "nginx") {
        let output = nginx::check(block, folder.path()).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let clean = !stderr.contains("[warn]") && !stderr.contains("[emerg]");
        assert!(output.status.success() && clean, "line {}\n{stderr}", block.line);
    }
}
