// The arguments that every Dockerfile may declare without a value (Dockerfile reference, "Automatic
// platform ARGs in the global scope", "Predefined ARGs").

/** This machine builds for itself. */
export function platformArgs(): Record<string, string> {
  const platform = { OS: 'linux', ARCH: 'amd64', VARIANT: '' };
  const args: Record<string, string> = { TARGETPLATFORM: 'linux/amd64', BUILDPLATFORM: 'linux/amd64' };
  for (const [part, value] of Object.entries(platform)) {
    args[`TARGET${part}`] = value;
    args[`BUILD${part}`] = value;
  }
  return args;
}

const PROXIES = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'];

/** Usable without ARG, and part of neither history nor cache. */
export function isPredefined(name: string): boolean {
  return PROXIES.includes(name.toUpperCase()) && (name === name.toUpperCase() || name === name.toLowerCase());
}
