// Runs every signature of a SavedModel with TensorFlow's own C++ library.
//
//   serving_client <version folder> <images> <count> <height> <width> <channels>
//
// <images> is a file of raw numbers, row by row, of the type that the model takes:
// bytes for one exported with --input=uint8, else floats in the order of bytes of this
// machine. For every signature a line is written: its name, then the logits of all
// images. It loads the model the way TF Serving does, by the tag `serve`, and feeds it
// by the tensor names that the SignatureDefs give.
//
// tests/test_serving_client.py has the line that compiles it. Exit codes: 0, 1 where
// TensorFlow fails, 2 for bad arguments.

#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <string>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"

// Fills a tensor with a file; false unless the file has just as many bytes.
bool Read(const std::string& path, tensorflow::Tensor* tensor) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const auto expected = static_cast<std::streamsize>(tensor->TotalBytes());
  const std::streamsize found = file ? std::streamsize(file.tellg()) : -1;
  if (found == expected) {
    file.seekg(0);
    if (file.read(static_cast<char*>(tensor->data()), expected)) return true;
  }
  std::cerr << "expected " << expected << " bytes, "
            << tensorflow::DataTypeString(tensor->dtype()) << ", in " << path
            << ", received " << found << "\n";
  return false;
}

int main(int argc, char** argv) {
  if (argc != 7) {
    std::cerr << "expected 6 arguments, received " << argc - 1 << "\n";
    return 2;
  }
  tensorflow::TensorShape shape;
  for (int i = 3; i < argc; ++i) {
    const long long size = std::atoll(argv[i]);
    if (size < 1 || !shape.AddDimWithStatus(size).ok()) {
      std::cerr << "expected sizes of 1 or more, received " << argv[i] << "\n";
      return 2;
    }
  }

  tensorflow::SavedModelBundle model;
  absl::Status status =
      tensorflow::LoadSavedModel({}, {}, argv[1], {"serve"}, &model);
  if (!status.ok()) {
    std::cerr << status << "\n";
    return 1;
  }

  std::cout << std::setprecision(9);  // Enough to tell all floats apart.
  for (const auto& [name, signature] : model.GetSignatures()) {
    if (name.rfind("__", 0) == 0) continue;  // The initialiser of the model.
    const tensorflow::TensorInfo& input = signature.inputs().at("image");
    tensorflow::Tensor image(input.dtype(), shape);
    if (!Read(argv[2], &image)) return 2;
    std::vector<tensorflow::Tensor> outputs;
    status = model.GetSession()->Run({{input.name(), image}},
                                     {signature.outputs().at("logits").name()},
                                     {}, &outputs);
    if (!status.ok()) {
      std::cerr << name << ": " << status << "\n";
      return 1;
    }
    std::cout << name;
    const auto logits = outputs[0].flat<float>();
    for (int i = 0; i < logits.size(); ++i) std::cout << " " << logits(i);
    std::cout << "\n";
  }
}
