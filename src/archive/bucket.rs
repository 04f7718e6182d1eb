//! Opens a bucket of an object store: S3, Google Cloud Storage or Azure. Who we
//! are comes from the environment, as each store's own tools read it.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::ArchiveSettings;
use super::error::ArchiveError;
use super::home::Home;

/// What a bucket's address may begin with.
const SCHEMES: [&str; 3] = ["s3:", "gs:", "az:"];

/// Whether an address names a bucket rather than a folder.
pub(super) fn is_meant(url: &str) -> bool {
    SCHEMES.iter().any(|scheme| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// Opens the bucket that `archive.url` names, without calling it.
pub(super) fn open(settings: &ArchiveSettings) -> Result<Home, ArchiveError> {
    let bad = || ArchiveError::BadUrl(settings.url.clone());
    let url = Url::parse(&settings.url).map_err(|_| bad())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    if !plain || url.query().is_some() || url.fragment().is_some() {
        return Err(bad());
    }
    let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or_else(bad)?;
    let prefix = Path::from_url_path(url.path()).map_err(|_| bad())?;
    if settings.endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http") && !settings.allow_http {
        return Err(ArchiveError::PlainHttp);
    }
    match url.scheme() {
        "s3" => home(prefix, s3(bucket, settings)),
        "gs" => home(prefix, gs(bucket, settings)),
        "az" => home(prefix, az(bucket, settings)),
        _ => Err(bad()),
    }
}

fn home<S: ObjectStore + Signer>(prefix: Path, store: object_store::Result<S>) -> Result<Home, ArchiveError> {
    let store = Arc::new(store.map_err(|error| ArchiveError::Storage(super::error::told(&error)))?);
    Ok(Home { store: store.clone(), prefix, folder: None, signer: Some(store) })
}

fn s3(bucket: &str, settings: &ArchiveSettings) -> object_store::Result<impl ObjectStore + Signer + use<>> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_client_options(client(settings))
        .with_retry(retries())
        // One file goes at a time, and not every S3 knows how to remove many.
        .with_disable_bulk_delete(true);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    builder.build()
}

fn gs(bucket: &str, settings: &ArchiveSettings) -> object_store::Result<impl ObjectStore + Signer + use<>> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(bucket)
        .with_client_options(client(settings))
        .with_retry(retries());
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_base_url(endpoint.as_str().trim_end_matches('/'));
    }
    builder.build()
}

fn az(container: &str, settings: &ArchiveSettings) -> object_store::Result<impl ObjectStore + Signer + use<>> {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(container)
        .with_client_options(client(settings))
        .with_retry(retries());
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned());
    }
    builder.build()
}

/// No limit on the whole of a request: a large file read by a slow caller takes
/// its time. Silence is limited.
fn client(settings: &ArchiveSettings) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(settings.allow_http)
        .with_connect_timeout(settings.connect_timeout)
        .with_read_timeout(settings.idle_timeout)
        .with_timeout_disabled()
}

/// A few, and soon: without them one busy answer in the middle of a large file
/// would have all of it fetched from the provider again.
fn retries() -> RetryConfig {
    RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(30), ..RetryConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> ArchiveSettings {
        let _ = rustls::crypto::ring::default_provider().install_default();
        ArchiveSettings { url: url.to_owned(), ..ArchiveSettings::default() }
    }

    #[test]
    fn a_bucket_may_have_a_prefix_and_nothing_else() {
        for (url, prefix) in [("s3://bucket", ""), ("s3://bucket/", ""), ("s3://bucket/a/b c/", "a/b c")] {
            let home = open(&settings(url)).unwrap();
            assert_eq!((home.prefix.as_ref(), home.folder), (prefix, None), "{url}");
            assert!(home.signer.is_some());
        }
        for url in ["s3:bucket", "s3://", "s3://key:secret@bucket", "s3://bucket:1/x", "s3://b?x=1", "s3://b#x"] {
            assert!(matches!(open(&settings(url)), Err(ArchiveError::BadUrl(_))), "{url}");
        }
    }

    #[test]
    fn a_bucket_is_not_called_in_the_clear_unless_that_is_said() {
        let endpoint = Some(Url::parse("http://127.0.0.1:9000").unwrap());
        let plain = ArchiveSettings { endpoint, ..settings("s3://bucket") };
        assert!(matches!(open(&plain), Err(ArchiveError::PlainHttp)));
        assert!(open(&ArchiveSettings { allow_http: true, ..plain }).is_ok());
    }
}
