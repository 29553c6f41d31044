//! The parts of a request that may show who sends it.

use std::borrow::Cow;

use http::Uri;

use crate::http::fields::Fields;
use crate::http::parts::without_parameter;
use crate::net::tls::ClientCertificate;

/// The parts of a request that may show who sends it. Ways read them, and remove what must not be forwarded.
pub(crate) struct Credentials<'r, 't> {
    pub(crate) headers: &'r mut Fields,
    pub(crate) target: &'r mut Cow<'t, Uri>,
    /// The verified certificate of the connection, if it has one.
    pub(crate) certificate: Option<&'r ClientCertificate>,
}

impl Credentials<'_, '_> {
    /// Removes the parameters of this name from the query.
    pub(crate) fn remove_parameter(&mut self, name: &str) {
        if let Some(target) = without_parameter(self.target, name) {
            *self.target = Cow::Owned(target);
        }
    }
}
