//! What every handler shares.

use std::sync::Arc;

use florin_app::App;
use tokio::sync::Semaphore;

use crate::{
    HttpOptions,
    client_address::TrustedProxies,
    limits::Throttling,
    request_body::{BodyRefusal, read_body},
    sign_in_limit::SignInLimit,
    v1,
};

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub(crate) struct Http(Arc<Shared>);

/// What [`Http`] points to.
pub(crate) struct Shared {
    pub(crate) app: Arc<App>,
    pub(crate) options: HttpOptions,
    pub(crate) throttling: Option<Throttling>,
    pub(crate) proxies: TrustedProxies,
    pub(crate) sign_in_limit: Option<SignInLimit>,
    /// Room for the bodies of batches.
    pub(crate) batches: Arc<v1::batches::Room>,
    /// Files of imports that may be on their way in.
    pub(crate) imports: Arc<Semaphore>,
}

impl Http {
    pub(crate) fn new(app: Arc<App>, options: HttpOptions) -> Self {
        let throttling = options.throttle.map(Throttling::new);
        let proxies = TrustedProxies::new(options.trusted_proxies.clone());
        let sign_in_limit = options.sign_in_failures_per_address.map(SignInLimit::new);
        let batches = Arc::default();
        let imports = Arc::new(Semaphore::new(v1::imports::AT_ONCE));
        Self(Arc::new(Shared { app, options, throttling, proxies, sign_in_limit, batches, imports }))
    }
}

impl std::ops::Deref for Http {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Http {
    /// The whole body, within the configured limit.
    pub(crate) async fn read(&self, body: axum::body::Body) -> Result<axum::body::Bytes, BodyRefusal> {
        read_body(body, self.options.body_limit).await
    }
}
