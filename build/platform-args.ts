// The arguments that every Dockerfile may declare without a value (Dockerfile reference, "Automatic
// platform ARGs in the global scope", "Predefined ARGs").
import { formatPlatform, MACHINE, type Platform, writtenPlatform } from '../images/build.js';

/** @param target what is built for */
export function platformArgs(target: Platform): Record<string, string> {
  return { ...argsOf('TARGET', target), ...argsOf('BUILD', MACHINE) };
}

function argsOf(prefix: string, platform: Platform): Record<string, string> {
  const written = writtenPlatform(platform);
  const { os, architecture, variant } = written;
  return {
    [`${prefix}PLATFORM`]: formatPlatform(written),
    [`${prefix}OS`]: os,
    [`${prefix}ARCH`]: architecture,
    [`${prefix}VARIANT`]: variant,
  };
}

const PROXIES = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'];

/** Usable without ARG, and part of neither history nor cache. */
export function isPredefined(name: string): boolean {
  return PROXIES.includes(name.toUpperCase()) && (name === name.toUpperCase() || name === name.toLowerCase());
}
