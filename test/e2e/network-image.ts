// An image with a client and a server of the network: Perl of this host, without its library of modules.
import { cpSync, mkdirSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { libraries, populate } from '../unit/guest-agent/container-image.js';

const PERL = '/usr/bin/perl';
const MODULES = '/usr/lib/x86_64-linux-gnu/perl-base';

/** Sends each client its own address and as many bytes as is asked for in all. Its words: port, bytes. */
export const SERVER = `use IO::Socket::IP; $| = 1;
$listener = IO::Socket::IP->new(Listen => 5, LocalHost => "::", LocalPort => $ARGV[0], V6Only => 0, ReuseAddr => 1,
    GetAddrInfoFlags => 0)
  or die "$@\\n";
print "up\\n";
while ($client = $listener->accept) {
  $text = $client->peerhost . " "; $text =~ s/^::ffff://;
  print $client $text . "x" x ($ARGV[1] - length $text); close $client;
}`;

/** Prints what a server sends. Its word: the address of the server and its port. */
export const CLIENT = `use IO::Socket::IP;
$server = IO::Socket::IP->new(PeerAddr => $ARGV[0], Timeout => 60) or die "$@\\n";
print while <$server>;`;

/** Makes a root file system in `directory`. */
export function populateWithPerl(directory: string): void {
  populate(directory);
  for (const file of libraries(PERL)) {
    mkdirSync(join(directory, dirname(file)), { recursive: true });
    cpSync(realpathSync(file), join(directory, file));
  }
  cpSync(realpathSync(PERL), join(directory, 'bin/perl'));
  cpSync(MODULES, join(directory, MODULES), { recursive: true });
}
