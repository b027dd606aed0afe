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
          const server = (await next()).accept();
          const before = [socket.readyState, server.sent.length];
          await until(socket, "open");
          server.say("echo");
          server.end();
          const second = (await next()).accept();
          found.silent = [before, server.sent, [...heard], second.url];
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
        // It is only slow: its hello counts, if nothing was sent without a head before.
        {
          const { socket, heard } = page({ timeout: 50 });
          const server = (await next()).accept();
          await until(socket, "open");
          server.say(hello("slow", { 1: log("a", E, 5, "000005") }), "h1.6.000006\nsix");
          socket.send("up");
          found.slow = [[...heard], server.sent];
          server.end();
          found.slowThen = resumeOf((await next()).accept());
          socket.close();
        }
        {
          const { socket, heard } = page({ timeout: 50 });
          const server = (await next()).accept();
          await until(socket, "open");
          socket.send("without a head");
          server.say(hello("slow", {}));
          const second = await next();
          found.tooSlow = [server.closed, second.url];
          socket.close();
        }
        {
          const { socket, heard } = page({ timeout: 50 });
          const server = (await next()).accept();
          await until(socket, "open");
          socket.send("without a head");
          server.end(1002, "a message must begin with its kind");
          found.refused = (await next()).url;
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
        "silent": [[0, 0], ["early"], [["open"], ["message", "echo"], ["reconnect", false, []]], "?a=1"],
        "short": [[["open"], ["close", 4001, "no"]], []],
        "slow": [[["open"], ["message", "six", "00000000000000e1.6.000006"]], ["mup"]],
        "slowThen": { "was": ["slow"], "logs": [["token-a", 6, "000006"]] },
        "tooSlow": [true, "?a=1&greenroom=socket&v=1"],
        "refused": "?a=1&greenroom=socket&v=1",
        "off": ["?a=1", ["up"], [["open"], ["message", "c{\"hello\":{\"id\":\"one\"},\"logs\":{}}"]]],
    });
    assert_eq!(play(body, json!([])).await?, expected);
    Ok(())
}
