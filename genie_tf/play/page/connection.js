// The WebSocket, as docs/play.md describes it.

export const NEW = 0, AGAIN = 1, PREVIEW = 2;
const HEADER = 12, NO_ACTION = 255;

// `heard` has a function for each type of JSON message, `frame` and `closed`.
export function connect(heard) {
  // Relative to the page, which a proxy may serve below a path.
  const address = new URL("play", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") return heard.frame(unpack(data));
    const message = JSON.parse(data);
    heard[message.type](message);
  };
  socket.onclose = ({ reason }) => heard.closed(reason);
  const send = (data) => socket.readyState === WebSocket.OPEN && socket.send(data);
  return {
    say: (type, rest = {}) => send(JSON.stringify({ type, ...rest })),
    start: (pixels) => send(pixels),
  };
}

function unpack(data) {
  const view = new DataView(data);
  const action = view.getUint8(1);
  return {
    kind: view.getUint8(0),
    action: action === NO_ACTION ? null : action,
    milliseconds: view.getUint16(2, true),
    number: view.getUint32(4, true),
    id: view.getUint32(8, true),
    pixels: new Uint8Array(data, HEADER),
  };
}
