// A page for the test of the hook: a room of the chat, which can be changed and left.

import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { useGreenroom } from "./useGreenroom";

function Room({ room }: { room: string }) {
  const [texts, setTexts] = useState<string[]>([]);
  const { state, send } = useGreenroom(`/room/${room}/?name=React`, (data) => {
    const { type, text } = JSON.parse(String(data));
    if (type === "chat.message") setTexts((texts) => [...texts, text]);
  });
  return (
    <main id="react" data-state={state} data-room={room} data-texts={texts.join()}>
      <button id="say" onClick={() => send(JSON.stringify({ text: `hello ${room}` }))}>say</button>
    </main>
  );
}

function App() {
  const [room, setRoom] = useState("one");
  return (
    <>
      <button id="other" onClick={() => setRoom("two")}>other</button>
      <button id="leave" onClick={() => setRoom("")}>leave</button>
      {room && <Room room={room} />}
    </>
  );
}

document.body.innerHTML = "<div id='root'></div>";
createRoot(document.getElementById("root")!).render(<StrictMode><App /></StrictMode>);
