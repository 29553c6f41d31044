//! The shop of docs/policies/shop.md: its file, its secrets, and what its page shows.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::{Gateway, Response, unused_address};

use crate::PROGRAM;

const CONFIG: &str = include_str!("../../examples/shop/gateway.yaml");

const PAGE: &str = include_str!("../../docs/policies/shop.md");

/// The shop, with secrets that its script has made.
struct Shop {
    gateway: Gateway,
    folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for script in ["secrets.sh", "token.sh"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop").join(script);
            std::fs::copy(from, folder.path().join(script)).unwrap();
        }
        run(folder.path(), &["secrets.sh"]);
        let inside = unused_address().port().to_string();
        let mut builder = Gateway::builder(PROGRAM, CONFIG)
            .env("PORT", "0")
            .env("ADMIN_PORT", "0")
            .env("INSIDE_PORT", inside);
        for name in ["jwks.json", "partners.yaml", "staff.htpasswd"] {
            let content = std::fs::read(folder.path().join("secrets").join(name)).unwrap();
            builder = builder.file(&format!("secrets/{name}"), content);
        }
        Self { gateway: builder.start().await, folder }
    }

    fn secret(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("secrets").join(name)).unwrap().trim().to_owned()
    }

    /// Returns the field with a customer's token.
    fn token(&self, arguments: &[&str]) -> String {
        let token = run(self.folder.path(), &[&["token.sh"], arguments].concat());
        format!("Bearer {}", token.trim())
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.gateway.client("web").await.request("GET", path, headers, b"").await
    }
}

/// Runs a script of the shop. Returns its output.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("bash").args(arguments).current_dir(folder).env("GATEWAY", PROGRAM).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The status of a response, the reason of a refusal, and what the shop has seen.
fn outcome(response: &Response) -> (u16, Option<&str>, Vec<&str>) {
    (response.status, response.header("x-gateway-error"), response.headers.all("x-seen"))
}

#[tokio::test]
async fn shop_serves_those_whom_its_page_names_and_nobody_else() {
    let shop = Shop::open().await;
    let seen = |user: &'static str| (200, None, vec![user]);
    let refused = |status, reason: &'static str| (status, Some(reason), Vec::<&str>::new());

    let catalog = [("origin", "https://m.shop.example"), ("x-user", "forged")];
    let response = shop.get("/catalog/1", &catalog).await;
    assert_eq!(outcome(&response), (200, None, vec![]));
    assert_eq!(response.header("access-control-allow-origin"), Some("https://m.shop.example"));
    assert_eq!(response.header("ratelimit-policy"), Some("\"second\";q=100;w=2"));
    assert_eq!(shop.get("/p/7?from=mail", &[]).await.header("location"), Some("/catalog/7?from=mail"));

    assert_eq!(outcome(&shop.get("/orders/7", &[]).await), refused(401, "auth.required"));
    let (token, other_scope) = (shop.token(&["ann"]), shop.token(&["ann", "catalog"]));
    let response = shop.get("/orders/7", &[("authorization", &token), ("x-user", "forged")]).await;
    assert_eq!(outcome(&response), seen("user=ann"));
    shop.gateway.wait_for_stdout("\"target\":\"/customers/ann/orders/7\"").await;
    let response = shop.get("/orders/7", &[("authorization", &other_scope)]).await;
    assert_eq!(outcome(&response), refused(403, "require.scope"));

    let key = shop.secret("partner.key");
    let response = shop.get("/partners/stock", &[("x-api-key", &key)]).await;
    assert_eq!(outcome(&response), (200, None, vec!["user=acme", "plan=gold"]));
    let response = shop.get("/partners/stock", &[("x-api-key", "another")]).await;
    assert_eq!(outcome(&response), refused(401, "auth.api_key.unknown"));

    assert_eq!(outcome(&shop.get("/account", &[("cookie", "session=of-ann")]).await), seen("user=ann"));
    assert_eq!(outcome(&shop.get("/account", &[("authorization", &token)]).await), seen("user=ann"));
    let response = shop.get("/account", &[("cookie", "session=of-bob")]).await;
    assert_eq!((response.status, response.header("location")), (302, Some("https://shop.example/login")));

    let password = STANDARD.encode(format!("eve:{}", shop.secret("staff.password")));
    let response = shop.get("/admin", &[("authorization", &format!("Basic {password}"))]).await;
    assert_eq!(outcome(&response), seen("user=eve"));
    assert_eq!(outcome(&shop.get("/admin", &[]).await), refused(401, "auth.required"));
}

#[test]
fn page_quotes_the_file() {
    let written: Vec<&str> = CONFIG.lines().map(without_comment).collect();
    let blocks = PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(lines.len() > 40, "{}", lines.len());
    let texts = |line: &str| without_comment(line).split(['{', '}', ' ', ',']).collect::<String>();
    let written: String = written.into_iter().map(texts).collect();
    for line in lines {
        assert!(written.contains(&texts(line)), "the file has no `{line}`");
    }
}

/// Returns a line without the comment at its end.
fn without_comment(line: &str) -> &str {
    line.split(" # ").next().unwrap_or(line).trim()
}
