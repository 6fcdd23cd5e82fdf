# Hashes, strings, objects, blocks and the collector; prints the same each time.
class Random16
  def initialize(state)
    @state = state
  end

  def number(limit)
    @state = (@state * 1103515245 + 12345) % 2147483648
    @state / 65536 % limit
  end
end

Node = Struct.new(:left, :right, :value)

def tree(random, depth)
  return Node.new(nil, nil, random.number(1000)) if depth.zero?

  Node.new(tree(random, depth - 1), tree(random, depth - 1), "node#{depth}")
end

def sum(node)
  return node.value if node.left.nil?

  sum(node.left) + sum(node.right) + node.value.length
end

def checksum(text)
  a = 1
  b = 0
  text.each_byte do |byte|
    a = (a + byte) % 65521
    b = (b + a) % 65521
  end
  b << 16 | a
end

random = Random16.new(12345)
words = Array.new(60000) do
  Array.new(2 + random.number(9)) { (97 + random.number(26)).chr }.join
end
count = Hash.new(0)
words.each { |word| count[word] += 1 }
most = count.sort_by { |word, times| [-times, word] }
puts count.size, most.first.inspect, checksum(most.first(2000).flatten.join(" "))

text = words.join(" ")
turned = text.gsub(/([a-z])([a-z]+)/) { "#{$2}#{$1}" }.upcase
puts turned.length, checksum(turned[0, 50000])

3.times { puts sum(tree(random, 15)) }

table = {}
20000.times { |i| table["key #{i}"] = { number: i, list: [i, i.to_s * random.number(20)] } }
table.delete_if { |_, value| value[:number] % 3 == 1 }
puts table.size, table.values.sum { |value| value[:list][1].length }
