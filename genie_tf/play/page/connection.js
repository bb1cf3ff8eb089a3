// The WebSocket; docs/play.md describes the protocol.

export const NEW = 0, PREVIEW = 2;
const HEADER = 12, NO_ACTION = 255;

// `handlers` has a function for each type of JSON message, and for `frame` and `closed`.
export function connect(handlers) {
  // Relative to the page: a proxy may serve it below a path.
  const address = new URL("play", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") return handlers.frame(unpack(data));
    const message = JSON.parse(data);
    handlers[message.type](message);
  };
  socket.onclose = ({ reason }) => handlers.closed(reason);
  const sendData = (data) => socket.readyState === WebSocket.OPEN && socket.send(data);
  return {
    send: (type, rest = {}) => sendData(JSON.stringify({ type, ...rest })),
    start: (pixels) => sendData(pixels),
  };
}

function unpack(data) {
  const view = new DataView(data);
  const action = view.getUint8(1);
  return {
    kind: view.getUint8(0),
    action: action === NO_ACTION ? null : action,
    number: view.getUint32(4, true),
    id: view.getUint32(8, true),
    pixels: new Uint8Array(data, HEADER),
  };
}
