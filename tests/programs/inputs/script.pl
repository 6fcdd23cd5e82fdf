#!/usr/bin/perl
# Hashes, regular expressions, sorting, packing, threads and fork; prints the same each time.
use strict;
use warnings;
use threads;
use Digest::SHA qw(sha256_hex);

my $state = 12345;
sub number {    # a generator of our own: perl's differs between builds
    $state = ($state * 1103515245 + 12345) % 2147483648;
    return int($state / 65536) % $_[0];
}

my %count;
my @lines;
for my $i (1 .. 60000) {
    my $word = join '', map { chr(97 + number(26)) } 1 .. 2 + number(6);
    $count{$word}++;
    push @lines, "$i: $word=" . number(100000) . ($i % 7 ? '' : ' <tag attr="' . $word . '">');
}
my @words = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
print scalar(@words), ' ', sha256_hex(join ',', @words), "\n";

my %by_length;
push @{ $by_length{ length $_ } }, $_ for @words;
my @lengths = sort { $a <=> $b } keys %by_length;
print join(' ', map { "$_:" . scalar @{ $by_length{$_} } } @lengths), "\n";

my ($sum, $tags, $text) = (0, 0, '');
for (@lines) {
    $sum += $2 if /^(\d+): [a-m]\w*=(\d+)/;
    $tags++ while /<tag attr="(?<word>[^"]+)">/g;
    (my $copy = $_) =~ s/([aeiou])(\w)/<$2$1>/g;
    $text .= $copy if /[xyz]{2}/;
}
print "$sum $tags ", sha256_hex($text), "\n";
my @parts = split /(?<=>)(?=[a-z])/, $text;
print scalar(@parts), ' ', sha256_hex(join '|', reverse sort @parts), "\n";

my @tree = map { { name => $_, children => [ map { [$_] x 3 } 1 .. 20 ] } } @words[ 0 .. 2000 ];
splice @tree, 500, 1000;
print scalar(@tree), ' ', scalar(map { @{ $_->{children} } } @tree), "\n";
print sha256_hex(pack '(w/a*)*', @words), ' ', length(join '', map { $_ x 50 } @words), "\n";
delete @count{ grep { length > 4 } @words };
print scalar(keys %count), "\n";

# Each thread starts with a copy of everything above, and changes it.
my @answers = map { $_->join } map {
    my $share = $_;
    threads->create(sub {
        my @mine = grep { ord($_) % 4 == $share } @words;
        $_ .= reverse for @mine;
        return sha256_hex(join ',', sort @mine);
    });
} 0 .. 3;
print "@answers\n";

my $child = open(my $pipe, '-|') // die "fork: $!";
if (!$child) {
    print sha256_hex(join ' ', map { uc } @lines), "\n";
    exit 0;
}
print "child ", <$pipe>;
close $pipe or die "child: $?";
