// Talking to the server: every failure becomes an Error whose message can be shown as it is.

const OFFLINE = "The server does not answer; is it still running?";

async function failure(response) {
  try {
    return new Error((await response.json()).error);
  } catch {
    return new Error(`The server answered with status ${response.status}.`);
  }
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(OFFLINE);
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export async function get(path, signal) {
  return (await send(path, { signal })).json();
}

// A body is a FormData or something for JSON; `form` is json, sheet or zip.
export function post(path, body, form, signal) {
  const isForm = body instanceof FormData;
  return send(`${path}?as=${form}`, {
    method: "POST",
    body: isForm ? body : JSON.stringify(body),
    headers: isForm ? {} : { "Content-Type": "application/json" },
    signal,
  });
}

export async function save(response, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
