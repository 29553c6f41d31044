//! The page of the admin listener in a real browser.

use support::serde_json::{Value, json};
use support::{Browser, Gateway, Origin, unused_address, wait_until};

use crate::filter_report::failing;
use crate::filtering::filtered;
use crate::gateway;
use crate::pooled::OK;

const CONFIG: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
upstreams: { shared: { endpoints: ['{origin}'] } }
routes:
  - { name: spike, match: { path: /spike }, upstream: { url: '{origin}' }, pool: { max_connections: 7 } }
  - { name: users, match: { prefix: /users }, upstream: shared }
  - { name: '<img src=x onerror=document.title=1>', match: { path: /odd }, respond: { body: odd } }
";

const SECTIONS: [&str; 6] = ["overview", "routes", "pools", "upstreams", "filters", "configuration"];

async fn open(gateway: &Gateway, section: &str) -> Browser {
    let mut browser = Browser::start().await;
    show(&mut browser, gateway, section).await;
    browser
}

/// Shows a section, and waits until it has its first numbers.
async fn show(browser: &mut Browser, gateway: &Gateway, section: &str) {
    browser.open(&format!("http://{}/#{section}", gateway.admin_addr())).await;
    browser
        .wait_for("the first update", "document.querySelector('#freshness')?.textContent.startsWith('as of')")
        .await;
}

/// Returns the texts of a table's row by the name in its head.
async fn row(browser: &mut Browser, name: &str) -> Vec<String> {
    let script = "(name) => {
        const rows = [...document.querySelectorAll('main tbody tr')];
        const row = rows.find((row) => row.querySelector('th')?.textContent === name);
        return row && [...row.children].map((cell) => cell.innerText.replaceAll('\u{a0}', ' ').trim());
    }";
    let cells =
        browser.wait_for(&format!("the row of {name}"), &format!("({script})({})", json!(name))).await;
    cells.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap().to_owned()).collect()
}

/// Presses the tab key until the element with this text has the focus.
async fn tab_to(browser: &mut Browser, text: &str) {
    for _ in 0..40 {
        if browser.evaluate("document.activeElement.textContent").await == text {
            return;
        }
        browser.press("Tab").await;
    }
    panic!("{text} is not within reach of the tab key");
}

#[tokio::test]
async fn page_shows_the_numbers_that_the_metrics_have() {
    let origin = Origin::echo();
    let gateway = gateway(CONFIG).set("origin", origin.url()).start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..12 {
        assert_eq!(client.get("/spike").await.status, 200);
    }
    assert_eq!(client.get("/nothing").await.status, 404);
    gateway.wait_for_pool("spike", "an idle connection", |pool| pool["idle"] == 1).await;
    let series = "gateway_requests_total{route=\"spike\",code=\"2xx\"}";
    wait_until("all are counted", async || gateway.metric(series).await == Some(12.0)).await;

    let mut browser = open(&gateway, "pools").await;
    let labels = format!(
        "pool=\"spike\",endpoint=\"{0}\",address=\"{1}\"",
        origin.url(),
        origin.url().trim_start_matches("http://")
    );
    let metric =
        async |name: &str| gateway.metric(&format!("gateway_pool_{name}_total{{{labels}}}")).await.unwrap();
    let cells = row(&mut browser, "spike").await;
    assert_eq!(cells[2], "0 in use, 1 idle of 7", "{cells:?}");
    let shown = [&cells[3], &cells[4], &cells[5]];
    let reused = format!("{:.1} %", 100.0 * metric("reused").await / metric("acquired").await);
    assert_eq!(shown, [&reused, &metric("acquired").await.to_string(), &metric("opened").await.to_string()]);
    let bar = "getComputedStyle(document.querySelector('.bar .idle')).width";
    let whole = "getComputedStyle(document.querySelector('.bar')).width";
    let share = browser.evaluate(&format!("parseFloat({bar}) / parseFloat({whole})")).await.as_f64().unwrap();
    assert!((share - 1.0 / 7.0).abs() < 0.02, "{share}");

    show(&mut browser, &gateway, "routes").await;
    let cells = row(&mut browser, "spike").await;
    assert_eq!(
        (cells[1].as_str(), cells[2].as_str(), cells[9].as_str()),
        ("/spike", "spike", "12"),
        "{cells:?}"
    );
    assert_eq!(row(&mut browser, "no route").await[5], "route.none");
    browser.evaluate("document.querySelector('main button.row').click()").await;
    let details =
        browser.wait_for("its details", "document.querySelector('tr.details .columns')?.innerText").await;
    assert!(
        details.as_str().unwrap().contains("mean time") && !details.as_str().unwrap().contains("[object"),
        "{details}"
    );
    show(&mut browser, &gateway, "pools").await;
    row(&mut browser, "spike").await;
    browser.evaluate("[...document.querySelectorAll('main button.row')].find((one) => one.textContent === 'spike').click()").await;
    let kernel = "document.querySelector('tr.details .sub')?.textContent.includes('ESTABLISHED') && document.querySelector('tr.details').innerText";
    let details = browser.wait_for("the kernel's count", kernel).await;
    let details = details.as_str().unwrap();
    assert!(details.contains("the gateway counts 1") && details.contains("They agree"), "{details}");
    assert!(details.contains("could not connect") && !details.contains("[object"), "{details}");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[tokio::test]
async fn upstreams_show_the_responses_failures_and_times_of_their_endpoints() {
    let origin = Origin::respond(|request| match &*request.target {
        "/served/fails" => "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".into(),
        _ => OK.into(),
    });
    let config = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
routes:
  - { name: served, match: { prefix: /served }, upstream: { url: '{origin}' } }
  - { name: refused, match: { prefix: /refused }, upstream: { url: 'http://{nothing}' }, retry: { attempts: 0, on: [] } }
  - { name: unused, match: { prefix: /unused }, upstream: { url: '{origin}' } }";
    let gateway = gateway(config).set("origin", origin.url()).set("nothing", unused_address()).start().await;
    let mut client = gateway.client("web").await;
    let mut statuses = Vec::new();
    for path in ["/served", "/served/fails", "/served", "/served", "/refused", "/refused"] {
        statuses.push(client.get(path).await.status);
    }
    assert_eq!(statuses, [200, 500, 200, 200, 503, 503]);
    let mut browser = open(&gateway, "upstreams").await;
    let cells = row(&mut browser, "served").await;
    assert_eq!((&*cells[7], &*cells[8]), ("2xx 3, 5xx 1", ""), "{cells:?}");
    assert!(cells[9].ends_with('s') && cells[10].ends_with('s'), "{cells:?}");
    assert_eq!(row(&mut browser, "refused").await[7..11], ["", "connect 2", "–", "–"]);
    assert_eq!(row(&mut browser, "unused").await[7..11], ["", "", "–", "–"]);
    browser.look(1280, "light").await;
    let fits = "((table) => table.scrollWidth <= table.clientWidth)(document.querySelector('main .scroll'))";
    assert_eq!(browser.evaluate(fits).await, true, "no column is cut off");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[tokio::test]
async fn overview_says_in_words_which_routes_to_upstreams_fail() {
    let origin = Origin::respond(|request| match request.target.ends_with("/fails") {
        true => "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".into(),
        false => OK.into(),
    });
    let config = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
defaults: { retry: { attempts: 0, on: [] } }
routes:
  - { name: limited, match: { prefix: /limited }, upstream: { url: 'http://{nothing}' }, rate_limit: { rate: 1/h } }
  - { name: refused, match: { prefix: /refused }, upstream: { url: 'http://{nothing}' } }
  - { name: served, match: { prefix: /served }, upstream: { url: '{origin}' } }
  - { name: seldom, match: { prefix: /seldom }, upstream: { url: '{origin}' } }
  - { name: closed, match: { prefix: /closed }, respond: { status: 503 } }";
    let gateway = gateway(config).set("origin", origin.url()).set("nothing", unused_address()).start().await;
    let mut client = gateway.client("web").await;
    let mut statuses = Vec::new();
    for path in ["/served", "/served/fails", "/refused", "/limited", "/limited", "/limited", "/closed"] {
        statuses.push(client.get(path).await.status);
    }
    assert_eq!(statuses, [200, 500, 503, 503, 429, 429, 503]);
    // Less than a tenth.
    assert_eq!(client.get("/seldom/fails").await.status, 500);
    for _ in 0..10 {
        assert_eq!(client.get("/seldom").await.status, 200);
    }
    let mut browser = open(&gateway, "overview").await;
    let lines = "((lines) => lines.length > 0 && lines.map((line) => line.textContent))([...document.querySelectorAll('.concerns li')])";
    let expected = [
        "limited: 1 of 3 requests of this route failed in the last minute; the most frequent reason so far is upstream.connect",
        "refused: 1 of 1 requests of this route failed in the last minute; the most frequent reason so far is upstream.connect",
        "served: 1 of 2 requests of this route failed in the last minute",
    ];
    assert_eq!(browser.wait_for("the problems", lines).await, json!(expected));
}

#[tokio::test]
async fn every_section_fits_its_window_in_both_themes_and_the_browser_has_no_complaint() {
    let origin = Origin::echo();
    let gateway = gateway(CONFIG).set("origin", origin.url()).start().await;
    let mut browser = Browser::start().await;
    for (width, theme) in [(1400, "light"), (1400, "dark"), (390, "light"), (390, "dark")] {
        browser.look(width, theme).await;
        for section in SECTIONS {
            show(&mut browser, &gateway, section).await;
            let found = browser
                .evaluate(
                    "[document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]",
                )
                .await;
            assert!(found[0].as_u64().unwrap() <= u64::from(width), "{section} at {width}: {found}");
            assert_eq!(found[1] == "rgb(20, 23, 28)", theme == "dark", "{section}: {found}");
        }
    }
    assert_eq!(browser.complaints(), [""; 0]);
}

#[tokio::test]
async fn name_with_markup_is_shown_as_it_is() {
    let origin = Origin::echo();
    let gateway = gateway(CONFIG).set("origin", origin.url()).start().await;
    let mut browser = open(&gateway, "routes").await;
    assert_eq!(row(&mut browser, "<img src=x onerror=document.title=1>").await[1], "/odd");
    assert_eq!(
        browser.evaluate("[document.querySelectorAll('main img').length, document.title]").await,
        json!([0, "gateway"])
    );
    show(&mut browser, &gateway, "configuration").await;
    let text = "[...document.querySelectorAll('pre')].at(-1).textContent.includes('onerror') && document.querySelectorAll('main img').length === 0";
    browser.wait_for("the file", text).await;
}

#[tokio::test]
async fn filter_that_fails_is_shown_with_the_functions_of_the_guest_and_its_last_lines() {
    let origin = Origin::echo();
    let gateway = filtered(&origin, &failing(), "").await;
    let mut browser = open(&gateway, "filters").await;
    assert_eq!(row(&mut browser, "test").await[5..], ["0", "–"]);
    let focused = async |browser: &mut Browser| {
        browser.evaluate("document.activeElement.getAttribute('aria-label')").await
    };
    tab_to(&mut browser, "test").await;
    browser.press("Enter").await;
    let details = browser.wait_for("its details", "document.querySelector('tr.details')?.innerText").await;
    let details = details.as_str().unwrap();
    assert!(details.contains("There was none.") && details.contains("It has logged nothing"), "{details}");

    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/trap").await.status, 500);
    let text = |number: usize| format!("document.querySelectorAll('tr.details pre')[{number}]?.textContent");
    let shown = browser.wait_for("the failure", &format!("{} || false", text(0))).await;
    let shown = shown.as_str().unwrap();
    assert!(shown.contains("  trap\nin `proxy_on_request_headers`: wasm trap: "), "{shown}");
    assert!(shown.contains("!deep_inside\n") && shown.contains("!further_out\n"), "{shown}");
    let lines = browser.evaluate(&text(1)).await;
    assert!(lines.as_str().unwrap().ends_with("  INFO   <b>a request</b>"), "{lines}");
    assert_eq!(browser.evaluate("document.querySelectorAll('main b').length").await, 0);
    let cells = row(&mut browser, "test").await;
    assert!(cells[5] == "1" && cells[6].starts_with("trap, "), "{cells:?}");

    // The keyboard reaches both, and an update leaves it there.
    for label in ["Last failure of test", "Last log lines of test"] {
        browser.press("Tab").await;
        assert_eq!(focused(&mut browser).await, label);
    }
    assert_eq!(client.get("/").await.status, 200);
    let two = format!("{}.split('\\n').length === 2", text(1));
    browser.wait_for("the next line", &two).await;
    assert_eq!(focused(&mut browser).await, "Last log lines of test");
    assert_eq!(browser.complaints(), [""; 0]);
    // A phone shows whole lines.
    browser.look(390, "dark").await;
    let widths =
        "[...document.querySelectorAll('tr.details pre')].map((pre) => pre.getBoundingClientRect().right)";
    for right in browser.evaluate(widths).await.as_array().unwrap() {
        assert!(right.as_f64().unwrap() <= 390.0, "{right}");
    }
}

#[tokio::test]
async fn keyboard_reaches_sections_rows_and_the_search() {
    let origin = Origin::echo();
    let gateway = gateway(CONFIG).set("origin", origin.url()).start().await;
    let mut browser = open(&gateway, "overview").await;
    browser.press("2").await;
    browser
        .wait_for("the routes", "document.querySelector('nav a[aria-current]').textContent === 'Routes'")
        .await;
    row(&mut browser, "users").await;
    browser.press("/").await;
    for key in ["u", "s", "e", "r", "s"] {
        browser.press(key).await;
    }
    browser.wait_for("one row", "document.querySelectorAll('main tbody tr').length === 1").await;
    tab_to(&mut browser, "users").await;
    browser.press("Enter").await;
    browser.wait_for("its details", "document.querySelector('tr.details')?.textContent.includes('authentication') === false && document.activeElement.getAttribute('aria-expanded') === 'true'").await;
    // An update leaves focus and details where they are.
    let before = browser.evaluate("document.querySelector('#freshness').textContent").await;
    browser
        .wait_for("another update", &format!("document.querySelector('#freshness').textContent !== {before}"))
        .await;
    assert_eq!(browser.evaluate("document.activeElement.getAttribute('aria-expanded')").await, "true");
}

#[tokio::test]
async fn refused_file_is_shown_with_its_lines_and_a_screen_reader_hears_of_it() {
    let origin = Origin::echo();
    let gateway = gateway(CONFIG).set("origin", origin.url()).start().await;
    let mut browser = open(&gateway, "overview").await;
    assert_eq!(
        browser.evaluate("document.querySelector('.concerns').innerText").await,
        "Nothing is wrong at the moment."
    );
    gateway.rewrite_config("listeners: 7");
    gateway.wait_for_log("configuration refused").await;
    browser
        .wait_for(
            "the problem",
            "document.querySelector('.concerns[aria-live=polite]').innerText.includes('were refused')",
        )
        .await;
    show(&mut browser, &gateway, "configuration").await;
    let shown = browser.wait_for("the errors", "document.querySelector('main .card pre')?.textContent").await;
    assert!(shown.as_str().unwrap().contains("gateway.yaml:1:"), "{shown}");
    assert!(browser.evaluate("document.title").await.as_str().unwrap().starts_with("(1)"));
}

#[tokio::test]
async fn page_asks_for_the_token_and_keeps_it_for_its_tab() {
    let gateway = gateway(
        "
admin: { address: 127.0.0.1:0, token: file:admin.token }
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes: [{ name: hello, match: { prefix: / }, respond: { body: hello } }]",
    )
    .file("admin.token", "a-token-of-the-test")
    .start()
    .await;
    let mut browser = Browser::start().await;
    browser.open(&format!("http://{}/#routes", gateway.admin_addr())).await;
    browser.wait_for("the form", "document.querySelector('#token')?.hidden === false").await;
    assert_eq!(browser.evaluate("document.body.innerText.includes('hello')").await, false);
    let submit = |token: &str| {
        format!(
            "(document.querySelector('#token-value').value = '{token}', document.querySelector('#token').requestSubmit())"
        )
    };
    browser.evaluate(&submit("wrong-wrong-wrong")).await;
    browser.evaluate(&submit("a-token-of-the-test")).await;
    row(&mut browser, "hello").await;
    assert_eq!(browser.evaluate("document.querySelector('#token').hidden").await, true);
    browser.send("Page.reload", json!({})).await;
    row(&mut browser, "hello").await;
}

#[tokio::test]
async fn thousand_routes_are_shown_sorted_and_found() {
    let mut config = "
admin: { address: 127.0.0.1:0 }
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes:
"
    .to_owned();
    for number in 0..1000 {
        config += &format!(
            "  - {{ name: route-{number:04}, match: {{ path: /{number} }}, respond: {{ body: a }} }}\n"
        );
    }
    let gateway = gateway(config).start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..3 {
        assert_eq!(client.get("/777").await.status, 200);
    }
    let mut browser = open(&gateway, "routes").await;
    let rows = "document.querySelectorAll('main tbody tr').length";
    assert_eq!(browser.evaluate(rows).await, 1001);
    let head = |title: &str| {
        format!(
            "[...document.querySelectorAll('thead button')].find((button) => button.textContent === '{title}').click()"
        )
    };
    browser.evaluate(&head("Requests")).await;
    browser
        .wait_for("the order", "document.querySelector('main tbody th').textContent === 'route-0777'")
        .await;
    browser.evaluate(&head("Route")).await;
    let names: Value = browser
        .evaluate(
            "[...document.querySelectorAll('main tbody th')].slice(0, 3).map((cell) => cell.textContent)",
        )
        .await;
    assert_eq!(names, json!(["no route", "route-0000", "route-0001"]));
    browser.evaluate("(() => { const search = document.querySelector('main input'); search.value = 'route-05'; search.dispatchEvent(new Event('input')); })()").await;
    assert_eq!(browser.evaluate(rows).await, 100);
    assert_eq!(browser.evaluate("document.querySelector('.count').textContent").await, "100 of 1,001");
}
