//! The dates of the certificates and revocation lists in a file, for warnings.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::EndEntityCert;

use super::{der, pem};
use crate::config::load::files::Files;

/// The time before the end of a certificate from which operators are told of it.
pub(crate) const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// The first and the last second in which a block of a PEM file is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dates {
    /// The line where the block begins, counted from 1.
    pub(crate) line: usize,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// Returns the dates of the certificates of a file. A file or certificate that cannot be read has none: that is an error
/// of whatever uses it.
pub(crate) fn certificate_dates(path: &Path, files: &Files) -> Vec<Dates> {
    let blocks = pem::certificates(path, files).unwrap_or_default().into_iter();
    let dates = blocks.filter_map(|(line, certificate)| {
        let [not_before, not_after] = der::Certificate::parse(&certificate)?.validity()?;
        Some(Dates { line, not_before: system_time(not_before)?, not_after: system_time(not_after)? })
    });
    dates.collect()
}

/// The certificate of a server, as an operator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeafCertificate {
    /// The host names that it is for.
    pub(crate) names: Vec<String>,
    /// The last second in which it is valid.
    pub(crate) not_after: SystemTime,
}

/// Returns the certificate of a file that is shown to clients, which is the first one.
pub(crate) fn leaf_certificate(path: &Path, files: &Files) -> Option<LeafCertificate> {
    let (_, certificate) = pem::certificates(path, files).ok()?.into_iter().next()?;
    let names = EndEntityCert::try_from(&certificate).ok()?.valid_dns_names().map(str::to_owned).collect();
    Some(LeafCertificate { names, not_after: expiry(&certificate)? })
}

/// Returns the last second in which a certificate is valid.
pub(crate) fn expiry(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let [_, not_after] = der::Certificate::parse(certificate)?.validity()?;
    system_time(not_after)
}

/// Returns the dates of the revocation lists of a file, which end with the time of the next list.
pub(crate) fn revocation_list_dates(path: &Path, files: &Files) -> Vec<Dates> {
    let blocks = pem::revocation_lists(path, files).unwrap_or_default().into_iter();
    let dates = blocks.filter_map(|(line, list)| {
        Some(Dates { line, not_before: UNIX_EPOCH, not_after: system_time(der::next_update(&list)?)? })
    });
    dates.collect()
}

/// Returns a time, unless it is further away than an HTTP date can be.
fn system_time(time: UnixTime) -> Option<SystemTime> {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs().min(LAST)))
}

#[cfg(test)]
mod tests {
    use support::Certificates;

    use super::*;

    #[test]
    fn dates_of_a_file_are_those_of_its_blocks() {
        let certificates = Certificates::new();
        let dates = certificate_dates(&certificates.expired(&["a.test"]).cert, &Files::new());
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let expired = Dates { line: 1, not_before: at(946_684_800), not_after: at(978_307_200) };
        assert_eq!(dates.first(), Some(&expired), "{dates:?}");
        let list = certificates.folder().join("clients.crl");
        std::fs::write(&list, certificates.revocation_list(&[], 2021)).unwrap();
        let lists = revocation_list_dates(&list, &Files::new());
        assert_eq!(lists.iter().map(|dates| dates.not_after).collect::<Vec<_>>(), [at(1_609_459_200)]);
        assert_eq!(certificate_dates(&list, &Files::new()), []);
    }
}
