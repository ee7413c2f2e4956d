// Runs every signature of a SavedModel with TensorFlow's own C++ library.
//
//   serving_client <version folder> <pixels> <images> <height> <width> <channels>
//
// <pixels> is a file of raw bytes, one for each number of the images. For every
// signature a line is written: its name, then the logits of all images. It loads the
// model the way TF Serving does, by the tag `serve`, and feeds it by the tensor names
// that the SignatureDefs give.

#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"

int main(int argc, char** argv) {
  if (argc != 7) {
    std::cerr << "expected 6 arguments, received " << argc - 1 << "\n";
    return 2;
  }
  tensorflow::SavedModelBundle model;
  absl::Status status =
      tensorflow::LoadSavedModel({}, {}, argv[1], {"serve"}, &model);
  if (!status.ok()) {
    std::cerr << status << "\n";
    return 1;
  }

  std::ifstream file(argv[2], std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)),
                                std::istreambuf_iterator<char>());
  tensorflow::Tensor image(
      tensorflow::DT_UINT8, {std::atoll(argv[3]), std::atoll(argv[4]),
                             std::atoll(argv[5]), std::atoll(argv[6])});
  auto pixels = image.flat<tensorflow::uint8>();
  if (static_cast<size_t>(pixels.size()) != bytes.size()) {
    std::cerr << "expected " << pixels.size() << " bytes in " << argv[2]
              << ", received " << bytes.size() << "\n";
    return 2;
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    pixels(i) = static_cast<unsigned char>(bytes[i]);
  }

  std::cout << std::setprecision(9);  // Enough to tell all floats apart.
  for (const auto& [name, signature] : model.GetSignatures()) {
    if (name.rfind("__", 0) == 0) continue;  // The initialiser of the model.
    std::vector<tensorflow::Tensor> outputs;
    status = model.GetSession()->Run(
        {{signature.inputs().at("image").name(), image}},
        {signature.outputs().at("logits").name()}, {}, &outputs);
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
