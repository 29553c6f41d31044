//! The words that CONTRIBUTING.md, "Code", keeps out of comments and test names.

use std::fs;
use std::path::Path;

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
const NAMES: [&str; 7] = ["what_", "whatever_", "who_", "whoever_", "how_", "however_", "where_"];

/// The comments of a file, each with the number of its line and whether it documents an item or a module.
fn comments(text: &str) -> impl Iterator<Item = (usize, bool, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        let comment = doc.or_else(|| line.strip_prefix("//"))?;
        Some((index + 1, doc.is_some(), comment.trim()))
    })
}

/// Returns true if a text has a word, in any letter case.
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
    for folder in ["src", "tests", "benches", "examples"] {
        for_each_source(&root().join(folder), &mut |file, text| {
            let mut inside = false;
            for (line, is_doc, comment) in comments(text) {
                let first = comment.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
                let begins = is_doc && !inside && HEADLESS.contains(&first);
                let word = WORDS.iter().find(|word| has(comment, word));
                if begins || word.is_some() {
                    wrong.push(format!("{}:{line}: {comment}", file.display()));
                }
                inside =
                    is_doc && text.lines().nth(line).is_some_and(|next| next.trim_start().starts_with("//"));
            }
        });
    }
    assert!(wrong.is_empty(), "{} comments:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn test_names_begin_with_the_thing_that_is_tested() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests"] {
        for_each_source(&root().join(folder), &mut |file, text| {
            let headless = test_names(text).filter(|name| NAMES.iter().any(|begin| name.starts_with(begin)));
            wrong.extend(headless.map(|name| format!("{}: {name}", file.display())));
        });
    }
    assert!(wrong.is_empty(), "{} names:\n{}", wrong.len(), wrong.join("\n"));
}

/// The names of a file's tests: of each function behind an attribute such as `#[test]` or `#[tokio::test(…)]`.
fn test_names(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().map(str::trim_start).filter_map(move |line| {
        is_test |= line.strip_prefix("#[").is_some_and(|attribute| {
            attribute.split(['(', ']']).next().is_some_and(|path| path.rsplit("::").next() == Some("test"))
        });
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
        std::mem::take(&mut is_test).then(|| function.split(['(', '<']).next().unwrap())
    })
}

#[test]
fn test_names_are_found_behind_each_form_of_the_attribute() {
    let text = "#[test]\nfn one() {}\n    #[tokio::test(start_paused = true)]\n    async fn two() {}\n\
        #[test]\n#[should_panic(expected = \"x\")]\nfn three(\n)\nfn four() {}\n#[cfg(test)]\nfn five() {}\n\
        #[tokio::test]\nasync fn six() {}";
    assert_eq!(test_names(text).collect::<Vec<_>>(), ["one", "two", "three", "six"]);
}

/// Calls `look` with the path and the text of each Rust file below a folder.
fn for_each_source(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_source(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(path.strip_prefix(root()).unwrap(), &fs::read_to_string(&path).unwrap());
        }
    }
}
