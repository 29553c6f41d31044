//! Certificates and revocation lists whose dates are wrong, or will be soon.

use std::path::Path;
use std::time::SystemTime;

use crate::config::load::files::Files;
use crate::config::{
    CertificateFiles, Code, Config, ConfigWarning, Loaded, Segment, Upstream, UpstreamChoice,
};
use crate::net::tls::{self, Dates, EXPIRES_SOON};
use crate::path;

/// The use of a file, which decides what follows from its dates.
#[derive(Clone, Copy)]
enum Use {
    /// A chain that the gateway shows to its peers.
    Shown,
    /// Certificates that the gateway trusts.
    Trusted,
}

pub(super) fn warnings(loaded: &Loaded, files: &Files) -> Vec<ConfigWarning> {
    let now = SystemTime::now();
    let mut warnings = Vec::new();
    for (place, file, usage) in certificate_files(&loaded.config) {
        warnings.extend(
            of_file(file, usage, &tls::certificate_dates(file, files), now)
                .map(|(code, message, help)| loaded.source.warning(code, &place, message, help)),
        );
    }
    for (place, file) in revocation_lists(&loaded.config) {
        for Dates { line, not_after, .. } in tls::revocation_list_dates(file, files) {
            if not_after < now {
                let (file, date) = (file.display(), httpdate::fmt_http_date(not_after));
                let message = format!(
                    "the revocation list in `{file}`, line {line}, has expired on {date}, so the clients that it covers are refused"
                );
                let help = "renew it";
                warnings.push(loaded.source.warning(Code::RevocationListExpired, &place, message, help));
            }
        }
    }
    warnings
}

/// Returns the code, the message and the advice about a file: one for each code, about the certificate that is concerned
/// first.
fn of_file<'d>(
    file: &Path,
    usage: Use,
    dates: &'d [Dates],
    now: SystemTime,
) -> impl Iterator<Item = (Code, String, &'static str)> + use<'d> {
    let file = file.display().to_string();
    let codes = [Code::CertificateExpired, Code::CertificateExpires, Code::CertificateNotYetValid];
    codes.into_iter().filter_map(move |code| {
        let mut concerned: Vec<&Dates> =
            dates.iter().filter(|dates| code_of(dates, now) == Some(code)).collect();
        concerned.sort_by_key(|dates| dates.not_after);
        let Dates { line, not_before, not_after } = concerned.first()?;
        let more = match concerned.len() - 1 {
            0 => String::new(),
            more => format!("; the file has {more} more of this kind"),
        };
        let (state, date) = match code {
            Code::CertificateExpired => ("has expired on", not_after),
            Code::CertificateExpires => ("expires on", not_after),
            _ => ("is not valid before", not_before),
        };
        let date = httpdate::fmt_http_date(*date);
        let message = format!("the certificate in `{file}`, line {line}, {state} {date}{more}");
        let help = match (usage, code) {
            (_, Code::CertificateNotYetValid) => "correct the clock of this machine, or the certificate",
            (Use::Shown, Code::CertificateExpired) => "renew it: peers refuse it",
            (Use::Shown, _) => "renew it before",
            (Use::Trusted, _) => "renew it, or take it out of the file",
        };
        Some((code, message, help))
    })
}

fn code_of(dates: &Dates, now: SystemTime) -> Option<Code> {
    if dates.not_after < now {
        Some(Code::CertificateExpired)
    } else if dates.not_before > now {
        Some(Code::CertificateNotYetValid)
    } else if dates.not_after.duration_since(now).is_ok_and(|left| left < EXPIRES_SOON) {
        Some(Code::CertificateExpires)
    } else {
        None
    }
}

/// Returns the certificates that the gateway shows, with the places of their `cert` and `key`.
pub(super) fn identities(config: &Config) -> Vec<(Vec<Segment>, &CertificateFiles)> {
    let mut found = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        for (number, files) in listener.tls.iter().flat_map(|tls| tls.certificates.iter().enumerate()) {
            found.push((path!["listeners", index, "tls", "certificates", number].to_vec(), files));
        }
    }
    for (base, upstream) in upstreams(config) {
        found.extend(
            upstream.tls.client.iter().map(|files| ([&base[..], &path!["tls", "client"]].concat(), files)),
        );
    }
    if let Some(files) = config.telemetry.traces.as_on().and_then(|traces| traces.tls.client.as_ref()) {
        found.push((path!["telemetry", "traces", "tls", "client"].to_vec(), files));
    }
    for (name, store) in &config.stores {
        found.extend(
            store.tls.client.iter().map(|files| (path!["stores", name, "tls", "client"].to_vec(), files)),
        );
    }
    found
}

/// Returns the files with certificates, each with the place that names it.
fn certificate_files(config: &Config) -> Vec<(Vec<Segment>, &Path, Use)> {
    let shown = identities(config).into_iter();
    let shown = shown.map(|(base, files)| ([&base[..], &path!["cert"]].concat(), &*files.cert, Use::Shown));
    let listeners = config.listeners.iter().enumerate().filter_map(|(index, listener)| {
        let client_auth = listener.tls.as_ref()?.client_auth.as_ref()?;
        Some((path!["listeners", index, "tls", "client_auth", "ca"].to_vec(), Some(&client_auth.ca)))
    });
    let upstreams = upstreams(config).into_iter();
    let upstreams = upstreams
        .map(|(base, upstream)| ([&base[..], &path!["tls", "ca"]].concat(), upstream.tls.ca.as_ref()));
    let stores = config.stores.iter();
    let stores =
        stores.map(|(name, store)| (path!["stores", name, "tls", "ca"].to_vec(), store.tls.ca.as_ref()));
    let ways = config.auth.iter().flat_map(|(name, way)| {
        let (jwt, oidc) = (way.jwt.as_ref(), way.oidc.as_ref());
        [
            (path!["auth", name, "jwt", "jwks_ca"].to_vec(), jwt.and_then(|jwt| jwt.jwks_ca.as_ref())),
            (path!["auth", name, "oidc", "ca"].to_vec(), oidc.and_then(|oidc| oidc.ca.as_ref())),
        ]
    });
    let traces = config.telemetry.traces.as_on();
    let traces =
        traces.map(|traces| (path!["telemetry", "traces", "tls", "ca"].to_vec(), traces.tls.ca.as_ref()));
    let trusted = listeners.chain(upstreams).chain(stores).chain(ways).chain(traces);
    shown.chain(trusted.filter_map(|(place, file)| Some((place, &**file?, Use::Trusted)))).collect()
}

fn revocation_lists(config: &Config) -> impl Iterator<Item = (Vec<Segment>, &Path)> {
    config.listeners.iter().enumerate().flat_map(|(index, listener)| {
        let client_auth = listener.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
        let lists = client_auth.into_iter().flat_map(|client_auth| client_auth.crl.iter().enumerate());
        lists.map(move |(number, file)| {
            (path!["listeners", index, "tls", "client_auth", "crl", number].to_vec(), &**file)
        })
    })
}

/// Returns all upstreams, each with its place.
fn upstreams(config: &Config) -> Vec<(Vec<Segment>, &Upstream)> {
    let named = config.upstreams.iter().map(|(name, upstream)| (path!["upstreams", name].to_vec(), upstream));
    let inline = config.routes.iter().enumerate().filter_map(|(index, route)| match &route.upstream {
        Some(UpstreamChoice::Inline(upstream)) => {
            Some((path!["routes", index, "upstream"].to_vec(), &**upstream))
        }
        _ => None,
    });
    named.chain(inline).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_key_that_names_a_certificate_is_searched() {
        let text = "
listeners:
  - address: 127.0.0.1:8443
    tls:
      certificates: [{ cert: f1, key: k1 }, { cert: f2, key: k2 }]
      client_auth: { ca: f3, crl: [list] }
upstreams:
  a: { url: https://a, tls: { ca: f4, client: { cert: f5, key: k5 } } }
stores:
  b: { url: 'rediss://b', tls: { ca: f6, client: { cert: f7, key: k7 } } }
auth:
  c: { jwt: { issuer: c, algorithms: [ES256], jwks: https://c, jwks_ca: f8 } }
  d: { oidc: { issuer: https://d, client_id: d, ca: f9, session: { secret: file:e } } }
telemetry:
  traces: { otlp: https://f, tls: { ca: f10, client: { cert: f11, key: k11 } } }
routes:
  - { upstream: { url: https://g, tls: { ca: f12, client: { cert: f13, key: k13 } } } }
";
        let loaded = crate::config::parse(text, "gateway.yaml", Path::new("/")).unwrap();
        let found = certificate_files(&loaded.config);
        let mut files: Vec<&str> =
            found.iter().map(|(_, file, _)| file.file_name().unwrap().to_str().unwrap()).collect();
        files.sort_unstable();
        let mut expected: Vec<String> = (1..=13).map(|number| format!("f{number}")).collect();
        expected.sort_unstable();
        assert_eq!(files, expected);
        // Each place is that of the file's name.
        for (place, file, _) in found {
            let written = loaded.source.find(&place);
            let name = file.file_name().unwrap().to_str().unwrap();
            assert_eq!((written.1, loaded.source.written(written.0)), (place.len(), name));
        }
        assert_eq!(revocation_lists(&loaded.config).count(), 1);
        assert_eq!(identities(&loaded.config).len(), 6);
    }

    #[test]
    fn certificate_is_warned_of_from_two_weeks_before_its_end() {
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::UNIX_EPOCH + 10_000 * day;
        let second = Duration::from_secs(1);
        for (not_before, not_after, expected) in [
            (now - day, now + 14 * day, None),
            (now - day, now + 14 * day - second, Some(Code::CertificateExpires)),
            (now, now, Some(Code::CertificateExpires)),
            (now - day, now - second, Some(Code::CertificateExpired)),
            (now + second, now + day, Some(Code::CertificateNotYetValid)),
        ] {
            let dates = Dates { line: 1, not_before, not_after };
            assert_eq!(code_of(&dates, now), expected, "{dates:?}");
        }
    }

    #[test]
    fn file_with_many_certificates_has_one_warning_of_a_kind() {
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::UNIX_EPOCH + 10_000 * day;
        let dates = |line, left| Dates { line, not_before: now - 100 * day, not_after: now + left * day };
        let all = [dates(1, 100), dates(20, 5), dates(40, 3), dates(60, 9)];
        let found: Vec<_> = of_file(Path::new("ca.pem"), Use::Trusted, &all, now).collect();
        let [(Code::CertificateExpires, message, _)] = &found[..] else { panic!("{found:?}") };
        assert!(
            message.contains("`ca.pem`, line 40, expires on") && message.ends_with("2 more of this kind"),
            "{message}"
        );
    }
}
