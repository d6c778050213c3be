// The arguments of `cp`: paths on the host and in containers.

/** As in Docker, a path with a colon is on the host if it starts with `/` or `.`. */
export function parsePlace(text: string): { container?: string; path: string } {
  const colon = text.indexOf(':');
  if (colon < 1 || text.startsWith('/') || text.startsWith('.')) return { path: text };
  return { container: text.slice(0, colon), path: text.slice(colon + 1) };
}
