// A peer of linear_bench.py in C++: the requests, the files and the clock; linear_worker.py is the
// same in Python and describes the requests.
#ifndef OCTAVO_TESTS_BENCH_LINEAR_WORKER_H_
#define OCTAVO_TESTS_BENCH_LINEAR_WORKER_H_

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace linear_bench {

struct Shape {
  std::string folder;
  size_t out_features = 0, in_features = 0;
  size_t cold_bytes = 0;  // of weights, between two uses of one copy
};

struct Variant {
  std::string name, type, rule;
  double weight_bytes = 1;  // of one weight
  std::string note;
};

template <typename T>
std::vector<T> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<T> values(static_cast<size_t>(file.tellg()) / sizeof(T));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(T)));
  return values;
}

inline void WriteFile(const std::string& path, const std::vector<double>& values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(double)));
  if (!file) throw std::runtime_error("cannot write " + path);
}

// Errors are exceptions.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual std::string Version() const = 0;
  virtual void Load(const Shape& shape) = 0;
  // Chooses what is fastest for that many, and makes the copies.
  virtual void SetTokens(size_t tokens) = 0;
  virtual const std::vector<Variant>& variants() const = 0;
  virtual size_t copies() const = 0;
  virtual void Call(size_t variant, size_t copy) = 0;
  // Of the last call.
  virtual double Output(size_t variant, size_t token, size_t feature) const = 0;
  // The weights that are multiplied with, for these features; empty: those of the files.
  virtual std::vector<double> Weights(const std::vector<int64_t>&) const { return {}; }
};

inline double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Server {
 public:
  explicit Server(Peer* peer) : peer_(peer) {}

  // Answers requests until the standard input ends.
  int Run() {
    std::cout << "{\"version\": \"" << peer_->Version() << "\"}" << std::endl;
    for (std::string line; std::getline(std::cin, line);) {
      std::ostringstream reply;
      reply.precision(9);
      try {
        Answer(line, reply);
      } catch (const std::exception& error) {
        reply.str("");
        std::string text = error.what();
        for (char& c : text) {
          if (c == '"' || c == '\\' || c == '\n') c = ' ';
        }
        reply << "{\"error\": \"" << text << "\"}";
      }
      std::cout << reply.str() << std::endl;
    }
    return 0;
  }

 private:
  void Answer(const std::string& line, std::ostream& reply) {
    std::istringstream words(line);
    std::string verb, name, weights;
    words >> verb;
    if (verb == "shape") {
      words >> shape_.folder >> shape_.out_features >> shape_.in_features >> shape_.cold_bytes;
      peer_->Load(shape_);
      reply << "{}";
    } else if (verb == "tokens") {
      words >> tokens_;
      peer_->SetTokens(tokens_);
      next_ = 0;
      const char* separator = "{\"variants\": [";
      for (const Variant& v : peer_->variants()) {
        reply << separator << "{\"name\": \"" << v.name << "\", \"type\": \"" << v.type
              << "\", \"rule\": \"" << v.rule << "\", \"weight_bytes\": " << v.weight_bytes
              << ", \"note\": \"" << v.note << "\"}";
        separator = ", ";
      }
      reply << "]}";
    } else if (verb == "check") {
      words >> name;
      Check(Find(name), reply);
    } else if (verb == "time") {
      size_t calls = 0;
      words >> name >> weights >> calls;
      reply << "{\"seconds\": " << Time(Find(name), weights == "cold", calls) << "}";
    } else {
      throw std::runtime_error("unknown request " + verb);
    }
  }

  size_t Find(const std::string& name) const {
    for (size_t i = 0; i < peer_->variants().size(); ++i) {
      if (peer_->variants()[i].name == name) return i;
    }
    throw std::runtime_error("unknown variant " + name);
  }

  void Check(size_t variant, std::ostream& reply) {
    const auto features = ReadFile<int64_t>(shape_.folder + "/features.i64");
    const double begin = Now();
    peer_->Call(variant, 0);
    const double seconds = Now() - begin;
    std::vector<double> y;
    for (size_t token = 0; token < tokens_; ++token) {
      for (int64_t feature : features)
        y.push_back(peer_->Output(variant, token, static_cast<size_t>(feature)));
    }
    WriteFile(shape_.folder + "/y.f64", y);
    const std::vector<double> weights = peer_->Weights(features);
    if (!weights.empty()) WriteFile(shape_.folder + "/w.f64", weights);
    reply << "{\"seconds\": " << seconds
          << ", \"own_weights\": " << (weights.empty() ? "false" : "true") << "}";
  }

  double Time(size_t variant, bool cold, size_t calls) {
    const auto call = [&] {
      peer_->Call(variant, cold ? next_ : 0);
      if (cold) next_ = (next_ + 1) % peer_->copies();
    };
    const double start = Now();
    do call();
    while (Now() - start < 0.005);
    const double begin = Now();
    for (size_t i = 0; i < calls; ++i) call();
    return (Now() - begin) / static_cast<double>(calls);
  }

  Peer* peer_;
  Shape shape_;
  size_t tokens_ = 0, next_ = 0;
};

}  // namespace linear_bench

#endif  // OCTAVO_TESTS_BENCH_LINEAR_WORKER_H_
