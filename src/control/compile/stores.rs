//! The stores of rate limits.

use std::path::Path;
use std::sync::Arc;

use super::snapshot::Builder;
use crate::config;
use crate::config::load::code::Code;
use crate::control::compile::problems::code_of;
use crate::control::stores::{self, NewStore, StoreSettings};
use crate::net::tls::{self, ClientTls};
use crate::path;
use crate::policy::{Store, StoreSource, Stores};

impl Builder<'_> {
    /// Builds all stores, whether or not a route uses them. One that is as before is taken over with its connections.
    pub(super) fn stores(&mut self) -> Stores {
        let written = self.config().stores.iter();
        written.filter_map(|(name, written)| Some((name.clone(), self.store(name, written)?))).collect()
    }

    fn store(&mut self, name: &str, written: &config::Store) -> Option<Arc<Store>> {
        if !stores::IS_BUILT {
            let error = self.loaded.source.error(
                Code::Unsupported,
                &path!["stores", name],
                "this program was built without stores",
            );
            self.errors.push(
                error.help("build it with `cargo build --release --features redis`, or take a package"),
            );
            return None;
        }
        let paths =
            written.tls.ca.iter().chain(written.tls.client.iter().flat_map(|pair| [&pair.cert, &pair.key]));
        let files = paths.map(|path| self.files().mark(path)).collect();
        let settings = self.store_settings(name, written)?;
        let source = StoreSource { settings: written.clone(), files };
        if let Some(store) = self.previous_store(name).filter(|store| *store.source() == source) {
            return Some(store.clone());
        }
        let (store, backend) = Store::new(name, source);
        self.commit_plan_mut().connect(NewStore { settings, backend });
        Some(Arc::new(store))
    }

    /// Reads the files of a store.
    fn store_settings(&mut self, name: &str, written: &config::Store) -> Option<StoreSettings> {
        let (ca, client) = (written.tls.ca.as_deref(), written.tls.client.as_ref());
        let settings = ClientTls { ca: ca.map(Path::to_owned), identity: client.cloned(), verify: true };
        if let Err(error) = tls::client_config(&settings, self.files()) {
            let place = path!["stores", name, "tls"];
            self.errors.push(self.loaded.source.error(code_of(&error), &place, error.to_string()));
            return None;
        }
        // They have just been read.
        let read = |path: &Path| self.files().read(path).ok().map(|content| content.to_vec());
        Some(StoreSettings {
            name: name.to_owned(),
            written: written.clone(),
            ca: ca.and_then(read),
            client: client.and_then(|pair| Some((read(&pair.cert)?, read(&pair.key)?))),
        })
    }
}
