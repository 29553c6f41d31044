//! The place of connections in a program that was built without stores. It refuses configurations that name one.

use super::command::{Command, Granted};
use super::settings::StoreSettings;
use crate::policy::StoreKey;

pub(super) enum Connection {}

impl Connection {
    #[expect(clippy::unused_async, reason = "as in a program with stores")]
    pub(super) async fn open(_: &StoreSettings) -> Result<Vec<Self>, String> {
        Err("this program was built without stores".to_owned())
    }

    #[expect(clippy::unused_async, reason = "as in a program with stores")]
    pub(super) async fn run(&self, _: Command) -> Result<Granted, String> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "as in a program with stores")]
    pub(super) async fn probe(&self, _: StoreKey) -> Result<(), String> {
        match *self {}
    }

    pub(super) fn share(&self) -> Self {
        match *self {}
    }
}
