//! Texts that most lines share with the line before.

use std::net::IpAddr;

use super::calendar::Calendar;
use super::encode::address;

/// The texts of one worker.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) rfc3339: Calendar,
    pub(super) common: Calendar,
    pub(super) client: LastAddress,
}

/// The text of the last client's address.
#[derive(Debug, Default)]
pub(super) struct LastAddress {
    client: Option<IpAddr>,
    /// Empty before the first line.
    text: Vec<u8>,
}

impl LastAddress {
    /// Returns the text of an address, as [`address`] writes it.
    pub(super) fn of(&mut self, client: Option<IpAddr>) -> &[u8] {
        if self.text.is_empty() || self.client != client {
            self.client = client;
            self.text.clear();
            address(&mut self.text, client);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_that_of_the_client_and_not_of_the_one_before() {
        let mut last = LastAddress::default();
        for client in [None, Some("127.0.0.1"), Some("127.0.0.1"), Some("::1"), None, Some("10.0.0.1")] {
            let text = String::from_utf8(last.of(client.map(|ip| ip.parse().unwrap())).to_vec()).unwrap();
            assert_eq!(text, client.unwrap_or("unix:"));
        }
    }
}
