//! What the client reads, over a WebSocket and over requests: each message once, and what is none.

use super::{super::scripted::SCRIPTED, *};

#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_history_comes_once_and_has_its_position() -> Result<()> {
    let body = r#"
        const { socket, heard } = page();
        const server = (await next()).accept(hello("one", { 12: log("a", E, 5, "000005"), 300: log("b", F, 0, "000000") }));
        socket.send("up");
        socket.send(new Uint8Array([7, 8]));
        socket.send(new Blob(["blob"]));
        server.say(
          "mplain", "m", [0, 1, 2], [0],
          "h12.5.000005\nseen before", "h12.6.0a0b06\nsix", "h12.6.0a0b06\nsix again",
          "h12.6.0a0b06\n", "h12.8.000008\neight\nin two lines", "h12.7.000007\nbehind eight",
          // The bytes of 300 and 1,000 in base 128, a tag, no part.
          [1, 0xac, 2, 0xe8, 7, 0xab, 0xcd, 0xef, 0, 9, 9], [1, 0xac, 2, 0xe8, 7, 0xab, 0xcd, 0xef, 0, 9, 9],
          // Two frames of one event, the first one twice; then its end; then what came before it.
          "h12.9.000009.1\nnine, 1", "h12.9.000009.1\nnine, 1", "h12.9.000009.2\nnine, 2", "p12.9.000009",
          "h12.9.000009.3\nnine, 3", "h12.8.000008.9\neight, 9",
          [1, 12, 10, 0, 0, 10, 1, 1], [1, 12, 10, 0, 0, 10, 2, 2],
          "f12.1764451200.25\nforeign", [2, 12, 0x41, 0xda, 0x4a, 0xd8, 0xe0, 0x10, 0, 0, 3],
          { foreign: { 300: 12.5, 12: 7, 1: 3 } },
        );
        server.end();
        const sent = [server.url, server.sent[0], [...server.sent[1]], await server.sent[2].text()];
        return { heard, sent, resume: resumeOf((await next()).accept()) };"#;
    let at = |offset: u32, tag: &str| format!("00000000000000e1.{offset}.{tag}");
    let expected = json!({
        "heard": [
            ["open"],
            ["message", "plain"], ["message", ""], ["message", [1, 2]], ["message", []],
            ["message", "six", at(6, "0a0b06")], ["message", "eight\nin two lines", at(8, "000008")],
            ["message", [9, 9], "00000000000000f2.1000.abcdef"],
            ["message", "nine, 1", at(9, "000009")], ["message", "nine, 2", at(9, "000009")],
            ["message", [1], at(10, "00000a")], ["message", [2], at(10, "00000a")],
            ["message", "foreign"], ["message", [3]],
        ],
        "sent": ["?a=1&greenroom=socket&v=1", "mup", [0, 7, 8], "\0blob"],
        "resume": {
            "was": ["one"],
            "logs": [["token-b", 1000, "abcdef", 12.5], ["token-a", 9, "000009", 1_764_451_200.25]],
        },
    });
    assert_eq!(play(body, json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_answers_beside_a_history() -> Result<()> {
    let body = r#"
        const { socket, heard } = page();
        const server = (await next()).accept(hello("one", { 1: log("a", E, 5, "000005") }));
        const asked = socket.request({ any: 1 });
        await Promise.resolve();
        const answer = '{"type":"greenroom.answer","id":1,"value":"yes"}';
        // Only what is for this page alone can be an answer.
        server.say(`h1.6.000006\n${answer}`, `m${answer}`);
        return { value: await asked, sent: server.sent, heard };"#;
    let expected = json!({
        "value": "yes",
        "sent": ["m{\"type\":\"greenroom.request\",\"id\":1,\"input\":{\"any\":1}}"],
        "heard": [
            ["open"],
            ["message", "{\"type\":\"greenroom.answer\",\"id\":1,\"value\":\"yes\"}", "00000000000000e1.6.000006"],
        ],
    });
    assert_eq!(play(body, json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_frame_is_ignored_and_said_once() -> Result<()> {
    let body = r#"
        const warned = [];
        console.warn = (text) => warned.push(text.slice(0, 12));
        const { socket, heard } = page();
        const server = (await next()).accept(hello("one", { 1: log("a", E, 5, "000005"), 2: null, 3: ["b", E, "5"] }));
        server.say(
          "", "x", "h", "h1.6\nno tag", "h1.6.000006", "h1.6.00000g\nno tag", "h1.-6.000006\nno number", "p1.6", "p1.6.000006\nx",
          "f1\nno watermark", "c", "cnonsense", "c5", "cnull", 'c{"logs":5,"lost":null,"left":"a","at":{"a":5},"new":1}',
          [], [1], [1, 1], [1, 0x80, 0x80], [1, 1, 6, 0, 0], [2, 1, 0], [3, 1],
          // A number that was not told belongs to no group. The message counts, without a position.
          "h7.6.000006\nof no group", "p7.6.000006", "f7.5\nof no group",
          "h1.6.000006\nsix",
        );
        return { heard, warned };"#;
    let expected = json!({
        "heard": [
            ["open"], ["message", "of no group"], ["message", "of no group"],
            ["message", "six", "00000000000000e1.6.000006"],
        ],
        "warned": ["greenroom.js"],
    });
    assert_eq!(play(body, json!([])).await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_goes_over_requests_too() -> Result<()> {
    let body = r#"
        const found = {};
        for (const [mode, what] of [["long-poll", "poll"], ["poll", "poll"], ["sse", "events"]]) {
          const say = (number, messages, more) => () => {
            const batch = { batch: number, messages, ...more };
            if (mode !== "sse") return Response.json(batch);
            return new Response(`data: ${JSON.stringify(batch)}\n\n`, { headers: EVENTS });
          };
          const opening = (control) => () => Response.json({ id: "f".repeat(40), wait: 20, expires: 30, limit: 1024, control });
          asked.length = 0;
          serve({
            open: [
              opening(hello("one", { 1: log("a", E, 5, "000005") })),
              opening(hello("two", { 2: log("a", E, 8, "000008") }, { resumed: { a: true }, recovered: true })),
              opening(undefined),
              () => Response.json({}, { status: 404 }),
            ],
            [what]: [
              say(1, ["plain", { text: "six", at: [1, 6, "000006"] }, { text: "six", at: [1, 6, "000006"] },
                { binary: "AQI=", at: [1, 7, "000007", 1] }, { at: [1, 7, "000007"] },
                { control: { lost: { a: "trimmed" } } }, { new: 1 }]),
              say(2, [{ text: "eight", at: [1, 8, "000008"] }, { text: "django", foreign: [1, 12.5] }]),
              () => new Response("{}", { status: 410 }),
              say(1, [{ text: "eight", at: [2, 8, "000008"] }, { text: "nine", at: [2, 9, "000009"] }],
                { close: { code: 1012, reason: "retry=1ms" } }),
              say(1, ["of a server without history"], { close: { code: 4000, reason: "enough" } }),
            ],
          });
          const { socket, heard } = page({ transports: [mode], pollInterval: 5 });
          await until(socket, "close");
          found[mode] = { heard, asked: asked.filter(([, what]) => what === "open").map(([, , , , body]) => JSON.parse(body)) };
        }
        return found;"#;
    let found = play(&format!("{SCRIPTED}{body}"), json!([])).await?;
    let at = |offset: u32| format!("00000000000000e1.{offset}.{offset:06}");
    let expected = json!({
        "heard": [
            ["open"],
            ["message", "plain"], ["message", "six", at(6)], ["message", [1, 2], at(7)],
            ["lost", false, [{ "group": "a", "reason": "trimmed" }]],
            ["message", "eight", at(8)], ["message", "django"],
            ["reconnect", true, []],
            ["message", "nine", at(9)],
            ["reconnect", false, []],
            ["message", "of a server without history"],
            ["close", 4000, "enough"],
        ],
        "asked": [
            { "protocols": [], "resume": {} },
            { "protocols": [], "resume": { "was": ["one"], "logs": [["token-a", 8, "000008", 12.5]] } },
            { "protocols": [], "resume": { "was": ["one", "two"], "logs": [["token-a", 9, "000009"]] } },
        ],
    });
    for mode in ["long-poll", "poll", "sse"] {
        assert_eq!(found[mode], expected, "{mode}");
    }
    Ok(())
}
