//! The check of numbers, switches and texts.

use serde_json::Value as Json;

use super::Checker;
use crate::config::load::code::Code;
use crate::config::load::format;
use crate::config::load::keyword::{array, expected, is_word, list, string, takes_text, texts, words};
use crate::config::load::source::Node;
use crate::config::values::look_alike;
use crate::config::values::secret::Secret;

impl Checker<'_> {
    pub(super) fn integer(&mut self, integer: i128, node: &Node, schema: &Json, choices: &[&Json]) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_i64).map(i128::from);
        let allowed: Vec<String> = array(schema, "enum").map(Json::to_string).collect();
        let help = if words(choices).is_empty() { None } else { Some(expected(choices)) };
        let help = help.map(|expected| format!("write {expected}"));
        if !allowed.is_empty() && !allowed.contains(&integer.to_string()) {
            let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
            self.wrong(
                Code::InvalidValue,
                format!("{} cannot be {}", self.subject(), self.source.written(node)),
                Some(format!("it is one of {}", list(&allowed, "and"))),
            );
        } else if let Some(minimum) = bound("minimum").filter(|&minimum| integer < minimum) {
            self.wrong(Code::InvalidValue, format!("{} must be at least {minimum}", self.subject()), help);
        } else if let Some(maximum) = bound("maximum").filter(|&maximum| integer > maximum) {
            self.wrong(Code::InvalidValue, format!("{} must be at most {maximum}", self.subject()), help);
        }
    }

    /// Checks a number where fractions are permitted, and reports it elsewhere.
    pub(super) fn number(&mut self, text: &str, node: &Node, choices: &[&Json]) {
        let Some(schema) = choices.iter().find(|choice| string(choice, "type") == Some("number")) else {
            return self.bare(node, "a number", choices);
        };
        let bound = |key: &str| schema.get(key).and_then(Json::as_f64).unwrap_or_default();
        let (minimum, maximum) = (bound("minimum"), bound("maximum"));
        // Infinity and the like are no numbers to Rust, as they are written in YAML.
        if !text.parse().is_ok_and(|number: f64| (minimum..=maximum).contains(&number)) {
            self.wrong(
                Code::InvalidValue,
                format!("{} must be a number from {minimum} to {maximum}", self.subject()),
                None,
            );
        }
    }

    /// Reports a number or a switch in the wrong place: a text without its quotes or its unit.
    pub(super) fn bare(&mut self, node: &Node, found: &str, choices: &[&Json]) {
        let text = self.source.written(node);
        if node.written.is_some() {
            let quote = if text.contains('"') { '\'' } else { '"' };
            let help = takes_text(choices, text).then(|| format!("put it in quotes: `{quote}{text}{quote}`"));
            return self.wrong_value(text, choices, help);
        }
        let format = texts(choices).find_map(|choice| format::find(string(choice, "format")?));
        let problem = format.and_then(|format| (format.check)(text).err());
        match problem {
            Some(malformed) => self.malformed(malformed.message, malformed.help, choices),
            None if takes_text(choices, text) => {
                self.wrong_kind(found, choices, Some(format!("put it in quotes: `\"{text}\"`")));
            }
            None => self.wrong_kind(found, choices, None),
        }
    }

    /// Checks a text with variables, whose value is never shown.
    pub(super) fn substituted(&mut self, text: &str, node: &Node, choices: &[&Json]) {
        let is_good = words(choices).contains(&text)
            || texts(choices).next().is_some_and(|choice| {
                let is_missing = text.is_empty() && choice.get("minLength").is_some_and(|min| min != 0);
                let format = string(choice, "format").and_then(format::find);
                !is_missing && format.is_none_or(|format| (format.check)(text).is_ok())
            });
        if !is_good {
            self.wrong_value(self.source.written(node), choices, None);
        }
    }

    /// Reports a wrong value of a variable. It may be secret, so the error shows the variable.
    fn wrong_value(&mut self, written: &str, choices: &[&Json], help: Option<String>) {
        let message =
            format!("{} must be {}, not the value of `{written}`", self.subject(), expected(choices));
        let help = help.unwrap_or_else(|| {
            "look at the variable: values are not shown, as they may be secret".to_owned()
        });
        self.wrong(Code::InvalidValue, message, Some(help));
    }

    pub(super) fn text(&mut self, text: &str, choices: &[&Json]) {
        let words = words(choices);
        if words.contains(&text) {
            return;
        }
        if let Some(choice) = texts(choices).next() {
            if text.is_empty() && choice.get("minLength").is_some_and(|min| min != 0) {
                self.wrong(
                    Code::InvalidValue,
                    format!("{} is empty", self.subject()),
                    Some("take the key out".to_owned()),
                );
            }
            let format = string(choice, "format");
            if format == Some("secret") && Secret::is_written_out(text) {
                return self.written_out();
            }
            let format = format.and_then(format::find);
            if let Some(Err(malformed)) = format.map(|format| (format.check)(text)) {
                match look_alike::find(text) {
                    Some(found) => self.wrong(Code::InvalidValue, malformed.message, Some(found.advice())),
                    None => self.malformed(malformed.message, malformed.help, choices),
                }
            }
            return;
        }
        if let Some(found) = look_alike::find(text) {
            return self.wrong_kind(&format!("`{text}`"), choices, Some(found.advice()));
        }
        let only_words = choices.iter().all(|choice| is_word(choice));
        if let Some(similar) = self.similar.find(text, words.iter().copied()) {
            self.wrong(
                Code::InvalidValue,
                format!("{} cannot be `{text}`", self.subject()),
                Some(format!("did you mean `{similar}`?")),
            );
        } else if only_words {
            self.wrong(
                Code::InvalidValue,
                format!("{} cannot be `{text}`", self.subject()),
                Some(format!("write {}", expected(choices))),
            );
        } else {
            let is_bool = choices.iter().any(|choice| string(choice, "type") == Some("boolean"));
            let is_number = text.parse::<i64>().is_ok() || ["true", "false"].contains(&text);
            let help = match text {
                "yes" | "on" if is_bool => Some("write `true`".to_owned()),
                "no" | "off" if is_bool => Some("write `false`".to_owned()),
                _ if is_number => Some("take the quotes out".to_owned()),
                _ => None,
            };
            self.wrong_kind(&format!("`{text}`"), choices, help);
        }
    }

    /// Reports a text that its format rejects. The advice adds the words that are also valid.
    fn malformed(&mut self, message: String, help: Option<String>, choices: &[&Json]) {
        let words: Vec<String> = words(choices).iter().map(|word| format!("`{word}`")).collect();
        let help = match (help, words.as_slice()) {
            (Some(help), [_, ..]) => Some(format!("{help}; or {}", words.join(" or "))),
            (help, _) => help,
        };
        self.wrong(Code::InvalidValue, message, help);
    }
}
