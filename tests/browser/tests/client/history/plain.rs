//! A server that knows no histories, or seems to.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_no_histories_is_a_plain_websocket() -> Result<()> {
    let body = r#"
        const found = {};
        // It says something first.
        {
          const { socket, heard } = page();
          socket.send("early");
          const server = (await next()).accept('{"type":"welcome"}', "c{", 'c{"hello":{"id":"late"}}');
          found.talker = [[...heard], server.sent];
          socket.close();
        }
        // It says nothing: the page can speak after a while, and the next connection does not ask.
        {
          const { socket, heard } = page({ timeout: 50 });
          socket.send("early");
          const first = (await next()).accept();
          const plain = await next();
          const before = [socket.readyState, first.sent.length, first.closed ?? null, plain.url];
          plain.accept();
          plain.say("echo");
          plain.end();
          const second = (await next()).accept();
          found.silent = [before, first.sent, first.closed, plain.sent, [...heard], second.url];
          socket.close();
        }
        // It ends the connection at once.
        {
          const { socket, heard } = page();
          socket.send("early");
          const server = (await next()).accept();
          server.end(4001, "no");
          found.short = [[...heard], server.sent];
        }
        // It is only slow. The page sends nothing before it is known who reads it.
        {
          const { socket, heard } = page({ timeout: 50 });
          socket.send("up");
          const server = (await next()).accept();
          const plain = await next();
          const before = [socket.readyState, server.sent.length];
          server.say(hello("slow", { 1: log("a", E, 5, "000005") }), "h1.6.000006\nsix");
          found.slow = [before, [...heard], server.sent, plain.closed, plain.sent];
          server.end();
          found.slowThen = resumeOf((await next()).accept());
          socket.close();
        }
        // It is slower than that, and knows the second connection too.
        {
          const { socket, heard } = page({ timeout: 50 });
          socket.send("up");
          const server = (await next()).accept();
          const plain = (await next()).accept();
          server.say(hello("slow", {}));
          plain.say("down");
          found.slower = [server.closed, server.sent, plain.sent, [...heard]];
          socket.close();
        }
        // The second connection does not open.
        {
          const { socket, heard } = page({ timeout: 50 });
          const server = (await next()).accept();
          (await next()).end();
          const third = await next();
          found.refused = [[...heard], server.closed, third.url];
          socket.close();
        }
        // The page wants a plain one.
        {
          const { socket, heard } = page({ resume: false });
          const server = (await next()).accept(hello("one", {}));
          socket.send("up");
          found.off = [server.url, server.sent, [...heard]];
          socket.close();
        }
        return found;"#;
    let expected = json!({
        "talker": [
            [["open"], ["message", "{\"type\":\"welcome\"}"], ["message", "c{"], ["message", "c{\"hello\":{\"id\":\"late\"}}"]],
            ["early"],
        ],
        "silent": [
            [0, 0, null, "?a=1"], [], true, ["early"],
            [["open"], ["message", "echo"], ["reconnect", false, []]], "?a=1",
        ],
        "short": [[["open"], ["close", 4001, "no"]], []],
        "slow": [[0, 0], [["open"], ["message", "six", "00000000000000e1.6.000006"]], ["mup"], true, []],
        "slowThen": { "was": ["slow"], "logs": [["token-a", 6, "000006"]] },
        "slower": [true, [], ["up"], [["open"], ["message", "down"]]],
        "refused": [[], true, "?a=1&greenroom=socket&v=1"],
        "off": ["?a=1", ["up"], [["open"], ["message", "c{\"hello\":{\"id\":\"one\"},\"logs\":{}}"]]],
    });
    assert_eq!(play(body, json!([])).await?, expected);
    Ok(())
}
