// The request to make a container in a machine that another one has brought.
import { z } from 'zod';

const path = z.string().startsWith('/');
const request = z.object({
  id: z.string().min(1),
  bundle: path,
  /** Path of the state folder. */
  state: path,
  console: z.boolean(),
  /** The engine's cgroups are scopes of systemd. */
  systemd: z.boolean(),
  /** Of the caller. */
  pid: z.number().int().positive(),
});

/** @param text what the command `tsvm-oci` sent, JSON */
export function readCreate(text: string): z.infer<typeof request> {
  return request.parse(JSON.parse(text));
}
