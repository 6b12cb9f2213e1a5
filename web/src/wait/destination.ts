// Where somebody goes who is let in. The server says which prefixes it allows; nothing else in the page's address is believed. The same rules as
// crates/server/src/http/wait/return_to.rs.

/** The address to go to, if a prefix allows it. `here` is the page's own. */
export function destination(address: string | null, prefixes: readonly string[], here: string): URL | undefined {
  if (address === null || /[\s\\\p{Cc}]/u.test(address) || !/^(\/(?!\/)|https?:\/\/)/i.test(address)) return undefined;
  let url: URL;
  try {
    url = new URL(address, here);
  } catch {
    return undefined;
  }
  const { pathname: path } = url;
  if (url.username !== "" || url.password !== "" || path.startsWith("//") || /%2f|%5c/i.test(path)) return undefined;
  const covers = (prefix: URL) =>
    prefix.origin === url.origin &&
    path.startsWith(prefix.pathname) &&
    (prefix.pathname.endsWith("/") || path.length === prefix.pathname.length || path[prefix.pathname.length] === "/");
  return prefixes.some((prefix) => covers(new URL(prefix, here))) ? url : undefined;
}
