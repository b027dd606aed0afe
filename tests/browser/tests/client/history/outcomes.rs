//! What the page is told: that nothing is missing, or what.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_hears_what_is_lost_while_it_is_connected() -> Result<()> {
    let body = r#"
        const { socket, heard } = page();
        let server = (await next()).accept(hello("one", {}));
        server.say(
          { logs: { 1: log("a", E, 5, "000005"), 2: log("b", E, 1, "000001"), 3: log("c", E, 1, "000001") } },
          { lost: { a: "trimmed" } }, "h1.900.000900\nlater",
          { lost: { b: "epoch" }, at: { b: [F, 0, "000000"] } }, "h2.1.0000b1\nanew",
          { left: ["c"] },
        );
        server.end();
        const first = resumeOf(server = (await next()).accept());
        server.say(hello("two", { 1: log("a", E, 900, "000900"), 2: log("b", F, 1, "0000b1") },
          { resumed: { a: true, b: true }, recovered: true }));
        // What is in no history leaves the positions as they are.
        server.say("mhere only", "h2.2.0000b2\nback");
        server.end();
        const second = resumeOf(server = (await next()).accept());
        server.say(hello("three", { 1: log("a", E, 900, "000900"), 2: log("b", F, 2, "0000b2") },
          { resumed: { a: true, b: true }, recovered: true }));
        server.end();
        const third = resumeOf(await next().then((server) => server.accept()));
        return { heard: heard.filter(([type]) => type !== "open"), first, second, third };"#;
    let lost = |group: &str, reason: &str| json!([{ "group": group, "reason": reason }]);
    let expected = json!({
        "heard": [
            ["lost", false, lost("a", "trimmed")],
            ["message", "later", "00000000000000e1.900.000900"],
            ["lost", false, lost("b", "epoch")],
            ["message", "anew", "00000000000000f2.1.0000b1"],
            ["reconnect", true, []],
            ["message", "here only"],
            ["message", "back", "00000000000000f2.2.0000b2"],
            ["reconnect", true, []],
        ],
        "first": { "was": ["one"], "logs": [["token-b", 1, "0000b1"], ["token-a", 900, "000900"]] },
        "second": { "was": ["one", "two"], "logs": [["token-b", 2, "0000b2"], ["token-a", 900, "000900"]] },
        "third": { "was": ["one", "two", "three"], "logs": [["token-b", 2, "0000b2"], ["token-a", 900, "000900"]] },
    });
    assert_eq!(play(body, json!([])).await?, expected);
    Ok(())
}

/// If the hook `connect` takes long, the server says first that it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_waits_a_while_for_the_word_of_what_it_has_missed() -> Result<()> {
    let body = r#"
        const { socket, heard } = page({ timeout: 100 });
        const logs = { 1: log("a", E, 5, "000005") };
        (await next()).accept(hello("one", logs)).end();
        // It ends before that: nothing was told, and the next one asks for the same.
        let server = (await next()).accept(hello("two", {}), "mof connect");
        server.end();
        server = (await next()).accept(hello("three", {}), "mof connect");
        const before = [socket.readyState, heard.length];
        socket.send("waits");
        server.say({ logs: { 4: log("a", E, 5, "000005") }, resumed: { a: true }, recovered: true }, "h4.6.000006\nmissed");
        const sent = server.sent.slice(1);
        server.end();
        // It takes too long: the page goes on.
        server = (await next()).accept(hello("four", {}), "mof a slow connect");
        await until(socket, "reconnect");
        server.say({ logs: { 4: log("a", F, 0, "000000") }, resumed: { a: "epoch" }, recovered: false });
        server.end();
        // The page leaves while it waits.
        server = (await next()).accept(hello("five", {}));
        socket.close();
        await until(socket, "close");
        return { before, sent, heard };"#;
    let expected = json!({
        "before": [0, 1],
        "sent": ["mwaits"],
        "heard": [
            ["open"],
            ["reconnect", true, []], ["message", "of connect"],
            ["message", "missed", "00000000000000e1.6.000006"],
            ["reconnect", false, []], ["message", "of a slow connect"],
            ["lost", false, [{ "group": "a", "reason": "epoch" }]],
            ["close", 1006, ""],
        ],
    });
    assert_eq!(play(body, json!([])).await?, expected);
    Ok(())
}

/// The connection that would have told it has ended meanwhile, and the next one does not name the group.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_hears_what_was_lost_on_a_connection_that_it_never_saw() -> Result<()> {
    let body = r#"
        const { socket, heard } = page();
        const all = Object.fromEntries(Array.from({ length: 1001 }, (_, at) => [at, log(`${at}`, E, 1, "000001", "t")]));
        (await next()).accept(hello("one", all)).end();
        // The page may name 1,000 groups, and leaves the oldest one out.
        (await next()).accept(hello("two", {})).end();
        (await next()).accept(hello("three", {})).end();
        const server = (await next()).accept();
        const resumed = Object.fromEntries(Array.from({ length: 1000 }, (_, at) => [`${at + 1}`, true]));
        server.say(hello("four", all, { resumed, recovered: true }));
        server.end();
        const last = (await next()).accept(hello("five", {}, { resumed: {}, recovered: true }));
        socket.close();
        return heard;"#;
    let lost = json!([{ "group": "0", "reason": "too_many" }]);
    let heard = play(body, json!([])).await?;
    assert_eq!(heard[1], json!(["reconnect", false, lost]), "{heard}");
    Ok(())
}

/// A server that was restarted without its data does not know the groups. It has lost none of those that it knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_which_the_server_says_nothing_has_a_gap() -> Result<()> {
    let body = r#"
        const { socket, heard } = page();
        const logs = (epoch) => ({ 1: log("a", epoch, 5, "000005"), 2: log("b", epoch, 5, "000005") });
        (await next()).accept(hello("one", { ...logs(E), 3: log("c", E, 5, "000005"), 4: log("d", E, 5, "000005") })).end();
        let server = (await next()).accept();
        server.say(hello("two", logs(F), { resumed: {}, recovered: true }));
        // The consumer comes into these groups only now. The second one has kept its history.
        server.say({ logs: { 3: log("c", F, 0, "000000") }, recovered: true });
        server.say({ logs: { 4: log("d", E, 5, "000005") }, resumed: { d: true }, recovered: true }, "h4.6.000006\nmissed");
        // Nothing is lost that was never there, or that was left before.
        server.say({ left: ["c"] }, { logs: { 3: log("c", F, 9, "000009"), 5: log("e", F, 1, "000001") } });
        server.end();
        const names = Array.from({ length: 9 }, (_, at) => `more ${at}`);
        for (const id of names) (await next()).accept(hello(id, {}, { resumed: {}, recovered: true })).end();
        return { heard, was: resumeOf((await next()).accept()).was.join() };"#;
    let forged =
        |groups: &[&str]| groups.iter().map(|group| json!({ "group": group, "reason": "forged" })).collect();
    let lost = |groups: &[&str]| Value::Array(forged(groups));
    let mut heard = vec![
        json!(["open"]),
        json!(["reconnect", false, lost(&["a", "b"])]),
        json!(["lost", false, lost(&["c"])]),
        json!(["message", "missed", "00000000000000e1.6.000006"]),
    ];
    heard.extend(vec![json!(["reconnect", false, []]); 9]);
    let was = "more 1,more 2,more 3,more 4,more 5,more 6,more 7,more 8";
    assert_eq!(play(body, json!([])).await?, json!({ "heard": heard, "was": was }));
    Ok(())
}

/// What a page is told of a loss never says more than what the server knows.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recovered_without_a_group_that_has_a_history() -> Result<()> {
    let body = r#"
        const { socket, heard } = page();
        (await next()).accept(hello("one", {})).end();
        let server = (await next()).accept();
        const asked = resumeOf(server);
        server.say(hello("two", {}, { resumed: {}, recovered: true }));
        // The server that comes next knows nothing of histories, or of this form.
        server.say({ logs: { 1: log("a", E, 5, "000005") } });
        server.end();
        server = (await next()).accept("plain text");
        server.say("h1.6.000006\nplain too");
        socket.send("raw");
        const plain = server.sent.slice(1);
        server.end();
        // And the one after it does.
        const later = resumeOf((await next()).accept());
        return { asked, plain, later, heard };"#;
    let expected = json!({
        "asked": { "was": ["one"], "logs": [] },
        "plain": ["raw"],
        "later": { "was": ["one", "two"], "logs": [["token-a", 5, "000005"]] },
        "heard": [
            ["open"], ["reconnect", false, []],
            ["reconnect", false, []], ["message", "plain text"], ["message", "h1.6.000006\nplain too"],
        ],
    });
    assert_eq!(play(body, json!([])).await?, expected);
    Ok(())
}
