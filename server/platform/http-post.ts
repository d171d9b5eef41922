/** Posts JSON to a service of the person's choice. */

/**
 * Posts a body and gives the status of the answer, whose body is not read.
 *
 * @param url A user name and password in it are sent as basic authentication.
 * @throws Error where no answer came in time.
 */
export async function postJson(url: string, body: string, timeoutMs: number): Promise<number> {
  const address = new URL(url);
  const { username, password } = address;
  address.username = "";
  address.password = "";
  const credentials = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString("base64");
  try {
    const answer = await fetch(address, {
      method: "POST",
      body,
      headers: {
        "content-type": "application/json",
        "user-agent": "Thalweg",
        ...(username === "" ? {} : { authorization: `Basic ${credentials}` }),
      },
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutMs),
    });
    await answer.body?.cancel();
    return answer.status;
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    throw new Error(`no answer from ${address.host}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}
