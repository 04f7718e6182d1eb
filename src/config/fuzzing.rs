//! Settings: what can be read can be shown, and means the same when it is read back.

use std::path::Path;

use super::{Overrides, Settings, format_duration, layers, parse_duration};
use crate::fuzzing::{seed, text};

/// A file's text, and one variable a line after the first zero byte.
pub(crate) fn check(data: &[u8]) {
    let data = text(data);
    let (file, environment) = data.split_once('\0').unwrap_or((&data, ""));
    if let Ok(duration) = parse_duration(environment) {
        assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }
    let environment: Vec<(String, String)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let Some(settings) = read(file, &environment) else { return };
    let shown = settings.render();
    let again = read(&shown, &environment).unwrap_or_else(|| panic!("what was shown cannot be read: {shown}"));
    assert_eq!(again.render(), shown);
}

fn read(file: &str, environment: &[(String, String)]) -> Option<Settings> {
    let table = match layers::parse(Path::new("videogen.toml"), file) {
        Ok(table) => table,
        Err(error) => {
            assert!(error.to_string().len() <= 400, "{error}");
            return None;
        }
    };
    Settings::compose(table, environment.iter().cloned(), &Overrides::default()).ok()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let file = r#"
[server]
grpc_listen = "127.0.0.1:0"
shutdown_grace = "1h"
[callbacks]
public_url = "https://hooks.example/a"
[store]
path = "./data"
[archive]
url = "s3://bucket/x"
[polling]
min_interval = "50ms"
max_interval = "5m"
factor = 1.5
[submit]
unknown_window = "1h30m"
[network]
allow = ["127.0.0.0/8", "fd00::/8"]
[catalog]
path = "models.toml"
[[accounts]]
name = "main"
provider = "kling"
api_key = { env = "KEY" }
max_parallel = 5
requests_per_second = 0.5
[[accounts]]
name = "other"
provider = "fal"
base_url = "http://127.0.0.1:9090/fal"
api_key = "id:secret"
webhook_secret = { file = "/nowhere/secret" }
"#;
    let file = file.trim_start();
    let whole = file.replace("webhook_secret = { file = \"/nowhere/secret\" }\n", "");
    vec![
        file.into(),
        format!("{whole}\0KEY=abc\nVIDEOGEN_SERVER__GRPC_LISTEN=[::]:50051\nVIDEOGEN_POLLING__FACTOR=2").into(),
        b"\0FAL_KEY=id:secret\nKLINGAI_ACCESS_KEY=a\nKLINGAI_SECRET_KEY=b\nVIDEOGEN_NETWORK__ALLOW=10.1.2.3, ::1"
            .into(),
        b"\0VIDEOGEN_ACCOUNTS__0__NAME=a\nVIDEOGEN_ACCOUNTS__0__PROVIDER=fal\nVIDEOGEN_ACCOUNTS__0__API_KEY=k".into(),
        seed(b'\n', "[polling]\nfactor = 1e1\nmax_interval = \"99999999999999999999s\"\0"),
        b"\x001h30m".into(),
    ]
}
