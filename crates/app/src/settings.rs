//! What the operator decides, as the use cases need it.

use florin_money::Asset;

/// Rules that come from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Asset of a wallet that is opened without naming one.
    pub default_asset: Asset,
    /// Assets that wallets may be opened in, besides the ISO 4217 currencies.
    pub custom_assets: Vec<Asset>,
    /// Whether a user may deposit to and withdraw from an own wallet directly.
    pub self_deposit: bool,
    /// Life of an access token, seconds.
    pub access_token_ttl_s: i64,
    /// Idle life of a refresh token, seconds.
    pub refresh_token_ttl_s: i64,
    /// Longest life of a session, seconds.
    pub session_ttl_s: i64,
    /// How long after its use the direct predecessor of an unused refresh token is answered again, seconds.
    pub refresh_grace_s: i64,
    /// Sessions that a user may have at once; one more ends the oldest.
    pub sessions_per_user: u32,
    /// After how long the key that signs access tokens is replaced, seconds; 0 for never.
    pub signing_key_life_s: i64,
    /// `iss` and `aud` of access tokens.
    pub issuer: String,
    /// This node's chain of batches and its stripe of the system accounts.
    pub writer: u16,
    /// Password hashes computed at once.
    pub hash_parallelism: usize,
    /// Batches that are read, or whose answers are written, at once.
    pub batch_parallelism: usize,
    /// Password hashes waiting before sign-ins are refused with 503.
    pub hash_queue: usize,
}

impl Settings {
    /// The asset of this code: a custom one, or an ISO 4217 currency.
    #[must_use]
    pub fn find_asset(&self, code: &str) -> Option<Asset> {
        self.custom_assets.iter().copied().find(|asset| asset.code().as_str() == code).or_else(|| Asset::find_iso(code))
    }
}
