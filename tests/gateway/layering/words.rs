//! The words that CONTRIBUTING.md, "Code", keeps out of comments and test names.

use std::fs;
use std::path::Path;

use super::imports::Sources;
use super::root;

/// Words that a comment's first sentence does not begin with: it would have no subject.
const HEADLESS: [&str; 8] = ["What", "Whether", "Who", "Whoever", "Whose", "How", "Likewise", "Answers"];

/// Words that make people of parts, or that no native reader uses here.
const WORDS: [&str; 10] = [
    "whoever",
    "nobody",
    "somebody",
    "anybody",
    "is to be",
    "are to be",
    "anew",
    "lets go of",
    "what there is of",
    "goes on going",
];

/// Words that the name of a test does not begin with: it names the thing that is tested.
const NAMES: [&str; 6] = ["what_", "whatever_", "who_", "whoever_", "how_", "where_"];

/// The comments of a file, each with the number of its line and whether it documents an item or a module.
fn comments(text: &str) -> impl Iterator<Item = (usize, bool, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        let comment = doc.or_else(|| line.strip_prefix("//"))?;
        Some((index + 1, doc.is_some(), comment.trim()))
    })
}

/// Whether a text has a word, whatever letters are large.
fn has(text: &str, word: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices(word).any(|(at, _)| {
        let is_apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        is_apart(text[..at].chars().next_back()) && is_apart(text[at + word.len()..].chars().next())
    })
}

#[test]
fn comments_have_a_subject_and_the_words_of_the_field() {
    let mut wrong = Vec::new();
    for (file, text) in Sources::read(&root().join("src")).texts() {
        let mut inside = false;
        for (line, is_doc, comment) in comments(text) {
            let first = comment.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            let begins = is_doc && !inside && HEADLESS.contains(&first);
            let word = WORDS.iter().find(|word| has(comment, word));
            if begins || word.is_some() {
                wrong.push(format!("src/{file}:{line}: {comment}"));
            }
            inside = is_doc && text.lines().nth(line).is_some_and(|next| next.trim_start().starts_with("//"));
        }
    }
    assert!(wrong.is_empty(), "{} comments:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn test_names_begin_with_the_thing_that_is_tested() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests"] {
        collect(&root().join(folder), &mut wrong);
    }
    assert!(wrong.is_empty(), "{} names:\n{}", wrong.len(), wrong.join("\n"));
}

fn collect(folder: &Path, wrong: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, wrong);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for part in text.split("test]\n").skip(1) {
                let name = part.split_once("fn ").map_or("", |(_, rest)| rest);
                if NAMES.iter().any(|begin| name.starts_with(begin)) {
                    let name = name.split('(').next().unwrap();
                    wrong.push(format!("{}: {name}", path.display()));
                }
            }
        }
    }
}
