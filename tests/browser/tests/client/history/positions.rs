//! Where the client is, and what it names when it comes back.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_goes_on_behind_what_the_page_has_seen() -> Result<()> {
    let body = r#"
        const { socket, heard } = page();
        socket.addEventListener("reconnect", () => socket.send("from reconnect"));
        let server = (await next()).accept(hello("one", { 1: log("a", E, 5, "000005"), 2: log("b", E, 0, "000000") }));
        server.say("h1.6.000006\nsix", "h1.7.000007.1\nseven, 1");
        server.end();
        socket.send("while away");

        server = (await next()).accept();
        const asked = [server.url, server.sent[0]];
        const before = [socket.readyState, heard.length];
        // The numbers of the groups are others now. The event that was cut begins anew.
        const logs = { 9: log("a", E, 6, "000006", "token-new"), 8: log("b", F, 3, "000003") };
        server.say(hello("two", logs, { resumed: { a: true, b: "epoch" }, recovered: false }));
        server.say("h9.7.000007.1\nseven, 1", "h9.7.000007.2\nseven, 2", "p9.7.000007", "h9.8.000008\neight", "h8.4.000004\nfour");
        const sent = server.sent.slice(1);
        // Cut again, before the server says anything: what is known stays known.
        server.end(1012, "retry=1ms");
        server = (await next()).accept();
        const again = resumeOf(server);
        server.end();
        server = (await next()).accept();
        const third = resumeOf(server);
        server.say(hello("three", { 1: log("a", E, 8, "000008"), 2: log("b", F, 4, "000004") },
          { resumed: { a: true, b: true }, recovered: true }));
        return { asked, before, sent, again, same: JSON.stringify(again) === JSON.stringify(third), heard };"#;
    let resume = r#"c{"resume":{"was":["one"],"logs":[["token-b",0,"000000"],["token-a",6,"000006"]]}}"#;
    let expected = json!({
        "asked": ["?a=1&greenroom=socket&v=1&resume=1", resume],
        "before": [0, 3],
        "sent": ["mfrom reconnect", "mwhile away"],
        "again": { "was": ["one", "two"], "logs": [["token-new", 8, "000008"], ["token-b", 4, "000004"]] },
        "same": true,
        "heard": [
            ["open"],
            ["message", "six", "00000000000000e1.6.000006"],
            ["message", "seven, 1", "00000000000000e1.7.000007"],
            ["reconnect", false, [{ "group": "b", "reason": "epoch" }]],
            ["message", "seven, 2", "00000000000000e1.7.000007"],
            ["message", "eight", "00000000000000e1.8.000008"],
            ["message", "four", "00000000000000f2.4.000004"],
            ["reconnect", true, []],
        ],
    });
    assert_eq!(play(body, json!([])).await?, expected);
    Ok(())
}

/// What the page's handler does, and whether it fails, does not move the position.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_set_before_the_page_has_the_message() -> Result<()> {
    let body = r#"
        const found = [];
        for (const act of [
          (server) => server.end(),
          () => dispatchEvent(new Event("offline")),
          () => {
            dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
            dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
          },
          (server) => {
            setTimeout(() => server.end());
            window.onerror = () => true; // the test fails at an error that nobody takes
            throw new Error("the page failed");
          },
        ]) {
          const { socket } = page();
          const server = (await next()).accept(hello("one", { 1: log("a", E, 5, "000005") }));
          socket.onmessage = () => act(server);
          server.say("h1.6.000006\nsix", "h1.7.000007\nthe connection may have ended");
          const { logs } = resumeOf((await next()).accept());
          found.push(logs[0].slice(1));
          socket.close();
        }
        return found;"#;
    let six = json!([6, "000006"]);
    assert_eq!(play(body, json!([])).await?, json!([six, six, six, [7, "000007"]]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_socket_stays_away_and_a_closed_one_forgets() -> Result<()> {
    let body = r#"
        const { socket, heard } = page({ reconnect: { base: 1, when: () => true } });
        (await next()).accept(hello("one", { 1: log("a", E, 5, "000005") })).end(1000, "superseded");
        const superseded = [socket.readyState, heard.at(-1)];
        // A close with 1000 that is the application's own is for the page to decide.
        const other = page({ reconnect: { base: 1, when: () => true } });
        (await next()).accept(hello("two", {})).end(1000, "enough");
        const back = await next();
        // Two sockets of a page, as those of two tabs, know nothing of each other.
        const third = page();
        const { url } = await next();
        return { superseded, back: back.url, url };"#;
    let expected = json!({
        "superseded": [3, ["close", 1000, "superseded"]],
        "back": "?a=1&greenroom=socket&v=1&resume=1",
        "url": "?a=1&greenroom=socket&v=1",
    });
    assert_eq!(play(body, json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_names_no_more_than_a_server_takes() -> Result<()> {
    let body = r#"
        const { socket, heard } = page();
        const logs = {};
        for (let at = 0; at < 1500; at += 1) logs[at] = log(`g${at}`, E, 1e12 + at, "00000a", "t".repeat(args));
        (await next()).accept(hello("one", logs)).end();
        const server = (await next()).accept();
        const resume = resumeOf(server);
        const mine = resume.logs.map(([, offset]) => offset - 1e12);
        server.say(hello("two", {}, { resumed: Object.fromEntries(mine.map((at) => [`g${at}`, true])), recovered: true }));
        const [, recovered, lost] = heard.at(-1);
        const reasons = [...new Set(lost.map(({ reason }) => reason))];
        return {
          logs: resume.logs.length, bytes: server.sent[0].length - 1, newest: mine.slice(0, 2),
          recovered, all: lost.length + mine.length, reasons,
        };"#;
    let few = play(body, json!(67)).await?;
    let bytes = few["bytes"].as_u64().unwrap_or_default();
    assert!((60 << 10) - 200 < bytes && bytes <= 60 << 10, "{few}");
    let logs = few["logs"].as_u64().unwrap_or_default();
    assert!((500..1000).contains(&logs), "{few}");
    let many = play(body, json!(2)).await?;
    assert_eq!((&many["logs"], &many["newest"]), (&json!(1000), &json!([1499, 1498])), "{many}");
    for found in [few, many] {
        let rest = [&found["recovered"], &found["all"], &found["reasons"]];
        assert_eq!(rest, [&json!(false), &json!(1500), &json!(["too_many"])]);
    }
    Ok(())
}
