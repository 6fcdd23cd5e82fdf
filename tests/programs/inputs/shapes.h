// Templates for the compilers to chew on: each of N generated classes is combined with each other
// one through variant visitation, tuples, maps and algorithms. shapes.cpp is generated.
#include <algorithm>
#include <array>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

template <int N> struct Shape {
  static constexpr int number = N;
  virtual ~Shape() = default;
  virtual long area() const = 0;
};

template <class Range> long sum(const Range &range) {
  return std::accumulate(range.begin(), range.end(), 0L);
}

template <class... Shapes> struct Family {
  using Any = std::variant<Shapes...>;
  std::vector<Any> members{Shapes{}...};
  std::tuple<std::vector<Shapes>...> by_type;
  std::map<std::string, Any> by_name;
};

template <class A, class B> long combine(const A &a, const B &b) {
  return a.area() * (A::number + 1) + b.area() * (B::number + 2);
}

template <class Any> long sum_up(const std::vector<Any> &members) {
  long total = 0;
  for (const Any &a : members) total += std::visit([](const auto &x) { return x.area(); }, a);
  return total;
}

template <class... Shapes> bool report(Family<Shapes...> family) {
  using Any = typename Family<Shapes...>::Any;
  for (const Any &any : family.members)
    std::visit([&](const auto &shape) { family.by_name.emplace(shape.name(), shape); }, any);
  ((std::get<std::vector<Shapes>>(family.by_type).resize(Shapes::number + 1)), ...);
  long pairs = 0;
  const auto first = std::get<0>(family.members[0]);
  ((pairs += combine(first, Shapes{}) + combine(Shapes{}, first)), ...);
  std::sort(family.members.begin(), family.members.end(), [](const Any &a, const Any &b) {
    auto area = [](const auto &shape) { return shape.area(); };
    return std::visit(area, a) < std::visit(area, b);
  });
  std::unordered_map<long, std::shared_ptr<Any>> by_area;
  for (const auto &[name, any] : family.by_name)
    by_area[sum_up(std::vector<Any>{any})] = std::make_shared<Any>(any);
  const std::regex digits("shape([0-9]+)");
  long numbers = 0;
  for (const auto &[name, any] : family.by_name) {
    std::smatch match;
    if (std::regex_match(name, match, digits)) numbers += std::stol(match[1]);
  }
  std::cout << sum_up(family.members) << ' ' << pairs << ' ' << numbers << ' ' << by_area.size()
            << '\n';
  return std::cout.good();
}
