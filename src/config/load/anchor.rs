//! Conversion of the relative paths in a configuration to paths from its folder.

use std::path::{Path, PathBuf};

use crate::config::{
    Admin, CertificateFiles, Config, FilterUse, KeySource, LogOutput, OrOff, Secret, Upstream,
    UpstreamChoice, WasmCache,
};

impl Config {
    /// Puts the folder before every relative path.
    pub(crate) fn anchor_paths(&mut self, folder: &Path) {
        for listener in &mut self.listeners {
            let Some(tls) = &mut listener.tls else { continue };
            tls.certificates.iter_mut().for_each(|files| files.anchor_paths(folder));
            if let Some(client_auth) = &mut tls.client_auth {
                anchor(&mut client_auth.ca, folder);
                client_auth.crl.iter_mut().for_each(|path| anchor(path, folder));
            }
        }
        let inline = self.routes.iter_mut().filter_map(|route| match &mut route.upstream {
            Some(UpstreamChoice::Inline(upstream)) => Some(&mut **upstream),
            _ => None,
        });
        inline.chain(self.upstreams.values_mut()).for_each(|upstream| upstream.anchor_paths(folder));
        for way in self.auth.values_mut() {
            if let Some(api_key) = &mut way.api_key {
                anchor(&mut api_key.keys, folder);
            }
            if let Some(jwt) = &mut way.jwt {
                jwt.jwks_ca.iter_mut().for_each(|path| anchor(path, folder));
                if let KeySource::File(path) = &mut jwt.jwks {
                    anchor(path, folder);
                }
            }
            if let Some(basic) = &mut way.basic {
                anchor(&mut basic.users, folder);
            }
            if let Some(oidc) = &mut way.oidc {
                oidc.ca.iter_mut().for_each(|path| anchor(path, folder));
                let secrets = oidc.session.secret.as_mut_slice().iter_mut();
                secrets.chain(&mut oidc.client_secret).for_each(|secret| secret.anchor_path(folder));
            }
        }
        if let OrOff::On(Admin { token: Some(tokens), .. }) = &mut self.admin {
            tokens.as_mut_slice().iter_mut().for_each(|token| token.anchor_path(folder));
        }
        if let OrOff::On(access_log) = &mut self.telemetry.access_log
            && let LogOutput::File(path) = &mut access_log.output
        {
            anchor(path, folder);
        }
        if let OrOff::On(traces) = &mut self.telemetry.traces {
            traces.tls.ca.iter_mut().for_each(|path| anchor(path, folder));
            traces.tls.client.iter_mut().for_each(|files| files.anchor_paths(folder));
            for secret in traces.headers.values_mut() {
                if let Secret::File(path) = secret {
                    anchor(path, folder);
                }
            }
        }
        let lists =
            self.routes.iter_mut().map(|route| &mut route.filters).chain([&mut self.defaults.filters]);
        for one in lists.flatten().flatten() {
            if let FilterUse::Inline(filter) = one {
                anchor(&mut filter.wasm, folder);
            }
        }
        self.filters.values_mut().for_each(|filter| anchor(&mut filter.wasm, folder));
        if let WasmCache::Folder(path) = &mut self.wasm.cache {
            anchor(path, folder);
        }
    }
}

impl Upstream {
    fn anchor_paths(&mut self, folder: &Path) {
        if let Some(ca) = &mut self.tls.ca {
            anchor(ca, folder);
        }
        if let Some(client) = &mut self.tls.client {
            client.anchor_paths(folder);
        }
    }
}

impl Secret {
    fn anchor_path(&mut self, folder: &Path) {
        if let Self::File(path) = self {
            anchor(path, folder);
        }
    }
}

impl CertificateFiles {
    fn anchor_paths(&mut self, folder: &Path) {
        anchor(&mut self.cert, folder);
        anchor(&mut self.key, folder);
    }
}

fn anchor(path: &mut PathBuf, folder: &Path) {
    // `join` returns an absolute path as it is.
    *path = folder.join(&*path);
}
