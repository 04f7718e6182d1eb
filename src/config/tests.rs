//! The settings as an operator meets them: every mistake named by its key, the
//! order of precedence, and no secret in what is shown.

use std::io::Write;

use super::*;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    load_with(file, environment, &Overrides::default())
}

fn load_with(file: &str, environment: &[(&str, &str)], flags: &Overrides) -> Result<Settings, ConfigError> {
    let mut saved = tempfile::NamedTempFile::new().unwrap();
    saved.write_all(file.as_bytes()).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::load(Some(saved.path()), environment, flags)
}

#[test]
fn the_defaults_are_those_of_the_table() {
    let settings = Settings::load(None, std::iter::empty(), &Overrides::default()).unwrap();
    assert_eq!(settings.server.grpc_listen.to_string(), "127.0.0.1:50051");
    assert_eq!(settings.server.callback_listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.server.admin_listen.to_string(), "127.0.0.1:9464");
    assert_eq!(settings.server.shutdown_grace, Duration::from_secs(30));
    assert_eq!(settings.store.path, Path::new("./videogen-data/store"));
    assert_eq!(settings.archive.url, "file:./videogen-data/videos");
    assert!(settings.archive.endpoint.is_none() && !settings.archive.allow_http);
    assert_eq!(settings.archive.max_video, 2 << 30);
    let waits = (settings.archive.idle_timeout, settings.archive.fetch_timeout);
    assert_eq!(waits, (Duration::from_secs(30), Duration::from_secs(1800)));
    assert_eq!(settings.polling.min_interval, Duration::from_secs(2));
    assert_eq!(settings.polling.max_interval, Duration::from_secs(30));
    assert_eq!(settings.polling.factor, 1.5);
    assert_eq!(settings.submit.unknown_window, Duration::from_secs(3600));
    assert_eq!((settings.submit.disk_reserve, settings.submit.max_open_tasks), (None, 1_000_000));
    assert!(settings.backup.path.is_none() && settings.backup.every.is_none() && settings.backup.keep == 7);
    assert_eq!(settings.retention.tasks, None);
    assert_eq!(settings.retention.request_ids, Duration::from_secs(400 * 86_400));
    assert!(settings.network.allow.is_empty() && settings.accounts.is_empty());
    assert!(settings.catalog.path.is_none() && settings.callbacks.public_url.is_none());
}

#[test]
fn a_mistake_in_the_file_is_named_by_its_key() {
    let kling = "[[accounts]]\nname='a'\nprovider='kling'\napi_key='k'\n";
    let cases: Vec<(String, &str)> = vec![
        ("servr = 1".into(), "servr"),
        ("[server]\ngrpc_lisen = 'x'".into(), "server.grpc_lisen"),
        ("[tls.ca]\nfile = 'x'".into(), "tls.ca.file"),
        ("server = 1".into(), "server"),
        ("[server]\ngrpc_listen = 50051".into(), "server.grpc_listen"),
        ("[server]\ncallback_listen = ':8080'".into(), "server.callback_listen"),
        ("[server]\nadmin_listen = '127.0.0.1:50051'".into(), "server.admin_listen"),
        ("[server]\ncallback_listen = '127.0.0.1:50051'".into(), "server.callback_listen"),
        ("[server]\nshutdown_grace = 30".into(), "server.shutdown_grace"),
        ("[server]\nshutdown_grace = '2h'".into(), "server.shutdown_grace"),
        ("[callbacks]\npublic_url = 'ftp://x'".into(), "callbacks.public_url"),
        ("[callbacks]\npublic_url = 'https://a:b@x'".into(), "callbacks.public_url"),
        ("[store]\npath = ''".into(), "store.path"),
        ("[archive]\nurl = './videos'".into(), "archive.url"),
        ("[archive]\nurl = 's3://'".into(), "archive.url"),
        ("[archive]\nendpoint = 'https://s3.example'".into(), "archive.endpoint"),
        ("[archive]\nurl = 's3://b'\nendpoint = 'http://127.0.0.1:9000'".into(), "archive.endpoint"),
        ("[archive]\nurl = 's3://b'\nendpoint = 'https://a:b@s3.example'".into(), "archive.endpoint"),
        ("[archive]\nallow_http = 'yes'".into(), "archive.allow_http"),
        ("[archive]\nmax_video = 5".into(), "archive.max_video"),
        ("[archive]\nmax_video = '41GiB'".into(), "archive.max_video"),
        ("[archive]\nidle_timeout = '1ms'".into(), "archive.idle_timeout"),
        ("[archive]\nfetch_timeout = '2d'".into(), "archive.fetch_timeout"),
        ("[polling]\nmin_interval = '0s'".into(), "polling.min_interval"),
        ("[polling]\nmin_interval = '31s'".into(), "polling.min_interval"),
        ("[polling]\nmax_interval = '2h'".into(), "polling.max_interval"),
        ("[polling]\nfactor = 1.0".into(), "polling.factor"),
        ("[polling]\nfactor = 11".into(), "polling.factor"),
        ("[polling]\nfactor = nan".into(), "polling.factor"),
        ("[submit]\nunknown_window = '0s'".into(), "submit.unknown_window"),
        ("[submit]\ndisk_reserve = 5".into(), "submit.disk_reserve"),
        ("[submit]\ndisk_reserve = '5GB'".into(), "submit.disk_reserve"),
        ("[submit]\nmax_open_tasks = 0".into(), "submit.max_open_tasks"),
        ("[submit]\nmax_open_tasks = 1.5".into(), "submit.max_open_tasks"),
        ("[submit]\nimage_check = 'never'".into(), "submit.image_check"),
        ("[submit]\nimage_patience = '25h'".into(), "submit.image_patience"),
        ("[backup]\nevery = '1h'".into(), "backup.every"),
        ("[backup]\npath = 'b'\nevery = '10ms'".into(), "backup.every"),
        ("[backup]\nkeep = 0".into(), "backup.keep"),
        ("[retention]\ntasks = '0s'".into(), "retention.tasks"),
        ("[retention]\nrequest_ids = '23h'".into(), "retention.request_ids"),
        ("[network]\nallow = ['localhost']".into(), "network.allow"),
        ("[network]\nallow = ['10.0.0.0/33']".into(), "network.allow"),
        ("[network]\nallow = [1]".into(), "network.allow"),
        ("accounts = 1".into(), "accounts"),
        ("[[accounts]]\nprovider = 'fal'".into(), "accounts.0.name"),
        ("[[accounts]]\nname = 'a b'".into(), "accounts.0.name"),
        ("[[accounts]]\nname = 'a'".into(), "accounts.0.provider"),
        ("[[accounts]]\nname = 'a'\nprovider = 'sora'".into(), "accounts.0.provider"),
        ("[[accounts]]\nname = 'a'\nprovider = 'fal'".into(), "accounts.0.api_key"),
        ("[[accounts]]\nname = 'a'\nprovider = 'kling'".into(), "accounts.0.api_key"),
        ("[[accounts]]\nname = 'a'\nprovider = 'kling'\naccess_key = 'k'".into(), "accounts.0.secret_key"),
        ("[[accounts]]\nname = 'a'\nprovider = 'kling'\nsecret_key = 'k'".into(), "accounts.0.access_key"),
        ("[[accounts]]\nname='a'\nprovider='fal'\napi_key='k'\nsecret_key='s'".into(), "accounts.0.secret_key"),
        (format!("{kling}access_key='a'\nsecret_key='s'"), "accounts.0.api_key"),
        (format!("{kling}{kling}"), "accounts.1.name"),
        (format!("{kling}base_url = 'api.example.com'"), "accounts.0.base_url"),
        (format!("{kling}max_parallel = 0"), "accounts.0.max_parallel"),
        (format!("{kling}max_parallel = 1.5"), "accounts.0.max_parallel"),
        (format!("{kling}requests_per_second = 0"), "accounts.0.requests_per_second"),
        (format!("{kling}region = 'x'"), "accounts.0.region"),
        (format!("{kling}webhook_secret = 5"), "accounts.0.webhook_secret"),
        (format!("{kling}webhook_secret = {{ env = 'A', file = 'B' }}"), "accounts.0.webhook_secret"),
        (format!("{kling}webhook_secret = {{ env = 'ABSENT' }}"), "accounts.0.webhook_secret"),
        (format!("{kling}webhook_secret = {{ file = '/absent' }}"), "accounts.0.webhook_secret"),
        (format!("{kling}webhook_secret = \"two\\nlines\""), "accounts.0.webhook_secret"),
    ];
    for (file, key) in cases {
        let error = load(&file, &[]).map(|_| ()).expect_err(&file);
        assert_eq!(error.key(), Some(key), "{file}: {error}");
        assert!(error.to_string().contains(key), "{file}: {error}");
    }
}

#[test]
fn a_mistake_in_the_environment_is_named_by_key_and_variable() {
    let error = load("", &[("VIDEOGEN_SERVER__GRPC_LISEN", "x")]).unwrap_err();
    assert_eq!(error.key(), Some("server.grpc_lisen"));
    assert!(error.to_string().contains("VIDEOGEN_SERVER__GRPC_LISEN"), "{error}");
    assert_eq!(load("", &[("VIDEOGEN_LISTEN", "x")]).unwrap_err().key(), Some("listen"));
    assert_eq!(load("", &[("VIDEOGEN_POLLING__FACTOR", "fast")]).unwrap_err().key(), Some("polling.factor"));
    let gap = load("", &[("VIDEOGEN_ACCOUNTS__1__NAME", "a")]).unwrap_err();
    assert_eq!(gap.key(), Some("accounts.1.name"));
}

#[test]
fn variables_that_are_not_settings_are_left_alone() {
    let others = [
        ("VIDEOGEN_SERVER", "http://127.0.0.1:1"),
        ("VIDEOGEN_CONFIG", "x"),
        ("VIDEOGEN_LOG", "debug"),
        ("VIDEOGEN_PORT", "tcp://10.0.0.1:50051"),
        ("VIDEOGEN_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("VIDEOGEN_SERVICE_HOST", "10.0.0.1"),
        ("VIDEOGEN_ADMIN_SERVICE_PORT_HTTP", "9464"),
        ("VIDEOGEN_STORE__PATH", ""),
    ];
    assert_eq!(load("", &others).unwrap().store.path, Path::new("./videogen-data/store"));
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "[server]\ngrpc_listen = '127.0.0.1:1'\ncallback_listen = '127.0.0.1:2'\nadmin_listen = '127.0.0.1:3'";
    let environment =
        [("VIDEOGEN_SERVER__GRPC_LISTEN", "127.0.0.1:10"), ("VIDEOGEN_SERVER__CALLBACK_LISTEN", "127.0.0.1:20")];
    let flags = Overrides { grpc_listen: Some("127.0.0.1:100".into()), ..Overrides::default() };
    let server = load_with(file, &environment, &flags).unwrap().server;
    let ports = [server.grpc_listen, server.callback_listen, server.admin_listen].map(|address| address.port());
    assert_eq!(ports, [100, 20, 3]);
}

#[test]
fn lists_and_accounts_come_from_the_environment_too() {
    let environment = [
        ("VIDEOGEN_NETWORK__ALLOW", "127.0.0.0/8, ::1"),
        ("VIDEOGEN_ACCOUNTS__0__NAME", "main"),
        ("VIDEOGEN_ACCOUNTS__0__PROVIDER", "kling"),
        ("VIDEOGEN_ACCOUNTS__0__API_KEY__ENV", "MY_KEY"),
        ("VIDEOGEN_ACCOUNTS__0__MAX_PARALLEL", "7"),
        ("VIDEOGEN_ACCOUNTS__1__NAME", "other"),
        ("VIDEOGEN_ACCOUNTS__1__PROVIDER", "fal"),
        ("VIDEOGEN_ACCOUNTS__1__API_KEY", "plain"),
        ("MY_KEY", "hidden"),
    ];
    let settings = load("", &environment).unwrap();
    assert_eq!(settings.network.allow, ["127.0.0.0/8", "::1"]);
    let [main, other] = settings.accounts.as_slice() else { panic!("{:?}", settings.accounts) };
    assert_eq!((main.max_parallel, main.requests_per_second), (7, 5.0));
    assert_eq!(main.api_key.as_ref().unwrap().origin, Origin::Env("MY_KEY".into()));
    assert_eq!((other.provider, other.max_parallel), (ProviderName::Fal, 2));
}

#[test]
fn without_accounts_the_providers_usual_variables_serve() {
    let names = |environment: &[(&str, &str)], file: &str| -> Vec<String> {
        load(file, environment).unwrap().accounts.into_iter().map(|account| account.name).collect()
    };
    assert_eq!(names(&[("KLINGAI_API_KEY", "k"), ("FAL_KEY", "f")], ""), ["kling", "fal"]);
    assert_eq!(names(&[("KLINGAI_ACCESS_KEY", "a"), ("KLINGAI_SECRET_KEY", "s")], ""), ["kling"]);
    assert!(names(&[("KLINGAI_ACCESS_KEY", "a")], "").is_empty());
    let own = "[[accounts]]\nname='own'\nprovider='fal'\napi_key='k'";
    assert_eq!(names(&[("KLINGAI_API_KEY", "k")], own), ["own"]);
}

#[cfg(unix)]
#[test]
fn a_key_file_must_be_private() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "hidden\n").unwrap();
    let file = format!("[[accounts]]\nname='a'\nprovider='fal'\napi_key={{ file = '{}' }}", path.display());
    for (mode, private) in [(0o600, true), (0o400, true), (0o440, true), (0o620, false), (0o604, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        match load(&file, &[]) {
            Ok(settings) => {
                use secrecy::ExposeSecret;
                assert!(private, "{mode:o}");
                assert_eq!(settings.accounts[0].api_key.as_ref().unwrap().value.expose_secret(), "hidden");
            }
            Err(error) => {
                assert!(!private, "{mode:o}: {error}");
                assert_eq!(error.key(), Some("accounts.0.api_key"));
                assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            }
        }
    }
}

#[test]
fn what_is_shown_holds_no_secret_and_loads_again() {
    let file = "[[accounts]]\nname='a'\nprovider='kling'\naccess_key='hidden-1'\nsecret_key={ env = 'SECOND' }\n\
                webhook_secret='hidden-3'\n[callbacks]\npublic_url='https://v.example.com/'";
    let environment = [("SECOND", "hidden-2"), ("VIDEOGEN_NETWORK__ALLOW", "127.0.0.1")];
    let settings = load(file, &environment).unwrap();
    let shown = settings.render();
    assert!(!shown.contains("hidden") && !format!("{settings:?}").contains("hidden"), "{shown}");
    assert!(shown.contains("access_key = \"********\"\nsecret_key = { env = \"SECOND\" }"), "{shown}");
    assert_eq!(load(&shown, &environment).unwrap().render(), shown);
}

#[test]
fn a_file_that_does_not_parse_is_not_quoted() {
    let error = load("[[accounts]]\napi_key = hidden-key'", &[]).unwrap_err();
    assert_eq!(error.key(), None);
    assert!(error.to_string().contains("line 2") && !error.to_string().contains("hidden"), "{error}");
    let absent = Settings::load(Some(Path::new("/absent.toml")), std::iter::empty(), &Overrides::default());
    assert!(absent.unwrap_err().to_string().contains("/absent.toml"));
}
